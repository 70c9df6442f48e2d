package failures

import (
	"context"
	"fmt"
	"math/rand"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/wheelhouse-k8s/wheelhouse/test/failures/history"
)

const (
	watchersOfLoad = 3
	// watchMin and watchMax bound the life of one connection, after which the watch goes on at another master.
	watchMin, watchMax = 500 * time.Millisecond, 3 * time.Second
)

// follower watches the objects of the load, from one master to the next.
type follower struct {
	load   *load
	random *rand.Rand
	opened int

	mu    sync.Mutex // guards watch while run runs
	watch *history.Watch
}

func newFollower(l *load, i int) *follower {
	return &follower{load: l, random: rand.New(rand.NewSource(*seed + int64(100+i))), watch: &history.Watch{Name: fmt.Sprintf("watcher-%d", i)}}
}

// list begins a segment; it tries until some master answers.
func (f *follower) list(ctx context.Context) {
	for ctx.Err() == nil {
		items, at, err := f.load.any(f.random).items(ctx)
		if err == nil {
			f.mu.Lock()
			f.watch.Segments = append(f.watch.Segments, &history.Segment{Revision: at, Items: items})
			f.mu.Unlock()
			return
		}
		time.Sleep(loadPause)
	}
}

// items lists the objects of the load, consistently.
func (e *endpoint) items(ctx context.Context) (map[string]history.Item, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	clients, err := kubernetes.NewForConfigAndClient(e.config, e.http)
	if err != nil {
		return nil, 0, err
	}
	list, err := clients.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{LabelSelector: loadLabel + "=" + e.label})
	if err != nil {
		return nil, 0, err
	}
	items := map[string]history.Item{}
	for _, c := range list.Items {
		items[c.Name] = history.Item{Value: c.Data["value"], Revision: revision(c.ResourceVersion)}
	}
	return items, revision(list.ResourceVersion), nil
}

// run follows until ctx ends.
func (f *follower) run(ctx context.Context) {
	for ctx.Err() == nil {
		e := f.load.any(f.random)
		life := watchMin + time.Duration(f.random.Int63n(int64(watchMax-watchMin)))
		again, err := f.follow(ctx, e, life)
		if err != nil {
			f.load.fail(fmt.Errorf("%s at %s: %w", f.watch.Name, e.name, err))
			return
		}
		if again {
			f.list(ctx)
		}
	}
}

// follow watches at one master. It is true when what comes next is no longer known there (410 Gone).
func (f *follower) follow(ctx context.Context, e *endpoint, life time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, life)
	defer cancel()
	clients, err := kubernetes.NewForConfigAndClient(e.config, e.http)
	if err != nil {
		return false, err
	}
	stream, err := clients.CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{
		LabelSelector: loadLabel + "=" + e.label, ResourceVersion: strconv.FormatInt(f.reached(), 10), AllowWatchBookmarks: true,
	})
	switch {
	case gone(err):
		return true, nil
	case err != nil: // the master is down, or does not answer in time
		time.Sleep(loadPause)
		return false, nil
	}
	defer stream.Stop()
	f.opened++
	for e2 := range stream.ResultChan() {
		if e2.Type == watch.Error {
			err := apierrors.FromObject(e2.Object)
			return gone(err), nil
		}
		c, ok := e2.Object.(*corev1.ConfigMap)
		if !ok {
			return false, fmt.Errorf("the watch sent a %T", e2.Object)
		}
		got := history.Event{Type: history.EventType(e2.Type), Name: c.Name, Revision: revision(c.ResourceVersion), At: e.name}
		if e2.Type == watch.Added || e2.Type == watch.Modified {
			got.Value = c.Data["value"]
		}
		f.mu.Lock()
		s := f.watch.Segments[len(f.watch.Segments)-1]
		s.Events = append(s.Events, got)
		f.mu.Unlock()
	}
	return false, nil
}

func gone(err error) bool { return apierrors.IsGone(err) || apierrors.IsResourceExpired(err) }

// reached is the revision up to which the watch has been told everything.
func (f *follower) reached() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.watch.Reached()
}
