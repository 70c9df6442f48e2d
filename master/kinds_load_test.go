package master

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// TestKindsComeAndGoUnderLoad installs, replaces and uninstalls a kind all the time, while its objects are made and watched, their owners
// are deleted in each of the three ways, and their namespaces go. Whenever an owner or a namespace has gone, the store holds what it must
// hold then, whether the kind was served at that moment or not.
func TestKindsComeAndGoUnderLoad(t *testing.T) {
	const workers, rounds = 3, 4
	s := memory.New()
	m, _ := startMaster(t, s, nil)
	config := m.RESTConfig()
	config.QPS = -1
	clients := kubernetes.NewForConfigOrDie(config)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	beside, end := context.WithCancel(ctx)
	var background, foreground sync.WaitGroup
	background.Go(func() { flicker(beside, t, m) })
	background.Go(func() { watchWidgets(beside, clients) })
	for worker := range workers {
		foreground.Go(func() {
			for round := range rounds {
				l := &load{ctx: ctx, store: s, clients: clients, namespace: fmt.Sprintf("w%d-%d", worker, round)}
				if err := l.run(); err != nil {
					t.Errorf("namespace %s: %v", l.namespace, err)
				}
			}
		})
	}
	foreground.Wait()
	end()
	background.Wait()
}

// flicker lets the kind come and go until ctx ends.
func flicker(ctx context.Context, t *testing.T, m *Master) {
	random := rand.New(rand.NewPCG(7, 7))
	for ctx.Err() == nil {
		var err error
		if random.IntN(3) == 0 {
			err = m.server.api.Uninstall(ctx, widgetKind())
		} else {
			err = m.server.api.Install(ctx, widgetKind())
		}
		if err != nil && ctx.Err() == nil {
			t.Error(err)
		}
		time.Sleep(time.Duration(random.IntN(30)) * time.Millisecond)
	}
}

// watchWidgets follows the kind as long as it can be, again and again.
func watchWidgets(ctx context.Context, clients kubernetes.Interface) {
	for ctx.Err() == nil {
		stream, err := clients.CoreV1().RESTClient().Get().AbsPath("/apis/example.com/v1/widgets").Param("watch", "1").Stream(ctx)
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		_, _ = io.Copy(io.Discard, stream) // it ends with the kind
		stream.Close()
	}
}

// load is one namespace with owners and dependents, and how they go.
type load struct {
	ctx       context.Context
	store     store.Store
	clients   kubernetes.Interface
	namespace string
	uids      map[metav1.DeletionPropagation]string
}

var policies = []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan}

func (l *load) run() error {
	l.uids = map[metav1.DeletionPropagation]string{}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: l.namespace}}
	if _, err := l.clients.CoreV1().Namespaces().Create(l.ctx, ns, metav1.CreateOptions{}); err != nil {
		return err
	}
	for _, policy := range policies {
		if err := l.create(policy); err != nil {
			return err
		}
	}
	for _, policy := range policies {
		if err := l.clients.CoreV1().ConfigMaps(l.namespace).Delete(l.ctx, ownerOf(policy), metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
			return err
		}
	}
	for _, policy := range policies {
		if err := l.judge(policy); err != nil {
			return fmt.Errorf("%s: %w", policy, err)
		}
	}
	return l.leave()
}

func ownerOf(policy metav1.DeletionPropagation) string {
	return "owner-" + strings.ToLower(string(policy))
}

// create makes an owner and its dependent, when the kind is there.
func (l *load) create(policy metav1.DeletionPropagation) error {
	owner, err := l.clients.CoreV1().ConfigMaps(l.namespace).Create(l.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: ownerOf(policy)}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	l.uids[policy] = string(owner.UID)
	body := fmt.Sprintf(`{"metadata":{"name":"%s","ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"%s","uid":"%s","blockOwnerDeletion":true}]}}`,
		policy, owner.Name, owner.UID)
	body = strings.Replace(body, string(policy), strings.ToLower(string(policy)), 1)
	return l.until(func() (bool, error) {
		answer, err := widgetsOf(l.ctx, l.clients, "POST", l.namespace+"/widgets", body)
		switch {
		case err == nil, apierrors.IsAlreadyExists(err):
			return true, nil
		case apierrors.IsNotFound(err), apierrors.IsTooManyRequests(err):
			return false, nil
		}
		return false, fmt.Errorf("%s: %w", answer, err)
	})
}

// judge waits until an owner has gone, and looks at what the store has of its dependent then.
func (l *load) judge(policy metav1.DeletionPropagation) error {
	if err := l.until(func() (bool, error) {
		_, err := l.clients.CoreV1().ConfigMaps(l.namespace).Get(l.ctx, ownerOf(policy), metav1.GetOptions{})
		return apierrors.IsNotFound(err), notGone(err)
	}); err != nil {
		return err
	}
	value, err := l.value(policy)
	switch {
	case err != nil:
		return err
	case policy == metav1.DeletePropagationForeground && value != "":
		return errors.New("the owner has gone before its dependent")
	case policy == metav1.DeletePropagationOrphan && (value == "" || strings.Contains(value, l.uids[policy])):
		return fmt.Errorf("the owner has gone, and left this of its dependent: %q", value)
	case policy == metav1.DeletePropagationBackground:
		return l.until(func() (bool, error) {
			value, err := l.value(policy)
			return value == "", err
		})
	}
	return nil
}

// value is what the store has of a dependent, empty if nothing.
func (l *load) value(policy metav1.DeletionPropagation) (string, error) {
	e, _, err := l.store.Get(l.ctx, widgetKind().Key(l.namespace, strings.ToLower(string(policy))), 0)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return string(e.Value), err
}

// leave deletes the namespace. When it has gone, nothing is stored in it.
func (l *load) leave() error {
	if err := l.clients.CoreV1().Namespaces().Delete(l.ctx, l.namespace, metav1.DeleteOptions{}); err != nil {
		return err
	}
	if err := l.until(func() (bool, error) {
		_, err := l.clients.CoreV1().Namespaces().Get(l.ctx, l.namespace, metav1.GetOptions{})
		return apierrors.IsNotFound(err), notGone(err)
	}); err != nil {
		return err
	}
	page, err := l.store.List(l.ctx, widgetKind().Key(l.namespace, ""), store.ListOptions{})
	if err == nil && len(page.Entries) > 0 {
		err = fmt.Errorf("it has gone, and %s is still stored", page.Entries[0].Key)
	}
	return err
}

func notGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// until waits for what must come.
func (l *load) until(is func() (bool, error)) error {
	for {
		ok, err := is()
		if ok || err != nil {
			return err
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-l.ctx.Done():
			return l.ctx.Err()
		}
	}
}
