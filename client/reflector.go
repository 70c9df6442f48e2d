package client

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

const (
	backoffMin   = 100 * time.Millisecond
	backoffMax   = 30 * time.Second
	watchTimeout = 5 * time.Minute // up to twice as long
	listPage     = 500
	// complainEvery is how often it is told that a kind cannot be loaded.
	complainEvery = time.Minute
)

// errExpired tells that the server no longer has the history that a watch asked for.
var errExpired = errors.New("revision is too old, listing again")

// errAgain ends a watch because somebody wants to be sure that the mirror is fresh.
var errAgain = errors.New("asked to list again")

// reflector keeps a mirror current: it fills it by a streaming list (or a paged one, from a server that cannot
// stream), and then watches. A watch that ends is resumed at the last revision seen; only a server that has
// forgotten that revision makes it list again.
type reflector struct {
	mirror   *mirror
	client   *rest.RESTClient
	revision string // "" means to list
	noStream bool   // the server refused a streaming list
	told     time.Time
	// waiters are told by the listing that is under way.
	waiters []chan error
}

// listed puts what a listing found into the mirror, and tells those who wait for it.
func (r *reflector) listed(found objects, revision string) error {
	n, err := strconv.ParseInt(revision, 10, 64)
	if err != nil {
		return err
	}
	r.mirror.replace(found, n)
	r.revision = revision
	answerAll(r.waiters, nil)
	r.waiters = nil
	return nil
}

func answerAll(waiters []chan error, err error) {
	for _, done := range waiters {
		done <- err
	}
}

func (r *reflector) run(ctx context.Context) {
	backoff := backoffMin
	for ctx.Err() == nil {
		before := r.revision
		err := r.follow(ctx)
		if err == nil || r.revision != before && r.revision != "" {
			backoff = backoffMin
		}
		if errors.Is(err, errAgain) {
			r.revision = ""
			continue
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		if errors.Is(err, errExpired) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			r.revision = ""
		}
		var again <-chan struct{}      // only the answer that there is no such kind is cheap enough to be given whenever somebody asks
		if apierrors.IsNotFound(err) { // it is a kind that was not found: objects are not asked for
			r.revision = ""
			err = notServed(r.mirror.info)
			answerAll(r.mirror.takeWaiters(), err)
			r.mirror.fail(err)
			again = r.mirror.again
		}
		if IsUnreadable(err) {
			r.mirror.fail(err)
		}
		r.complain(err)
		r.rest(ctx, again, backoff/2+rand.N(backoff))
		backoff = min(2*backoff, backoffMax)
	}
}

// rest pauses before the next attempt, unless again says that somebody wants to know at once.
func (r *reflector) rest(ctx context.Context, again <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-again:
	case <-ctx.Done():
	}
}

// complain tells why a watch ended. That a kind cannot be loaded, or no longer be shown, is told aloud now and then: whoever needs
// its view waits for it, perhaps for ever.
func (r *reflector) complain(err error) {
	why := r.mirror.Whole("")
	now := time.Now()
	if why == nil || now.Sub(r.told) < complainEvery {
		slog.Debug("watch ended", "resource", r.mirror.info.GR().String(), "error", err)
		return
	}
	r.told = now
	slog.Warn("the server does not show all objects of a kind, will retry", "resource", r.mirror.info.GR().String(), "error", err)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// follow runs one watch to its end; nil means that the server ended it in the ordinary way.
func (r *reflector) follow(ctx context.Context) error {
	if r.revision == "" {
		r.waiters = r.mirror.takeWaiters()
		defer func() {
			if len(r.waiters) > 0 { // it ended before everything was listed
				r.mirror.giveBack(r.waiters)
				r.waiters = nil
			}
		}()
	}
	if r.revision == "" && r.noStream {
		if err := r.list(ctx); err != nil {
			return err
		}
	}
	streaming := r.revision == ""
	seconds := int64((watchTimeout + rand.N(watchTimeout)).Seconds())
	options := metav1.ListOptions{Watch: true, AllowWatchBookmarks: true, ResourceVersion: r.revision, TimeoutSeconds: &seconds}
	if streaming {
		options.SendInitialEvents = &streaming
		options.ResourceVersionMatch = metav1.ResourceVersionMatchNotOlderThan
	}
	w, err := r.client.Get().Resource(r.mirror.info.Plural).SpecificallyVersionedParams(&options, scheme.ParameterCodec, optionsVersion).Watch(ctx)
	if streaming && (apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)) {
		r.noStream = true
		return nil
	}
	if err != nil {
		return err
	}
	defer w.Stop()
	return r.consume(ctx, w, streaming)
}

// consume applies the events of a watch. While filling, they are collected until the bookmark that ends the
// initial events, and then replace the mirror's content at once.
func (r *reflector) consume(ctx context.Context, w watch.Interface, filling bool) error {
	initial := objects{}
	for {
		var event watch.Event
		var open bool
		select {
		case event, open = <-w.ResultChan():
		case <-ctx.Done():
			return ctx.Err()
		case <-r.again(filling):
			return errAgain
		}
		if !open {
			return nil
		}
		if event.Type == watch.Error {
			return watchError(event.Object)
		}
		o, ok := event.Object.(kind.Object)
		if !ok {
			return errors.New("watch sent an object of an unexpected type")
		}
		switch {
		case event.Type == watch.Bookmark && filling:
			if o.GetAnnotations()[metav1.InitialEventsAnnotationKey] != "true" {
				continue
			}
			if err := r.listed(initial, o.GetResourceVersion()); err != nil {
				return err
			}
			filling, initial = false, nil
		case event.Type == watch.Bookmark:
			r.mirror.progress(Revision(o))
			r.revision = o.GetResourceVersion()
		case filling:
			initial[objectKey{o.GetNamespace(), o.GetName()}] = o
		default:
			r.mirror.apply(o, event.Type == watch.Deleted)
			r.revision = o.GetResourceVersion()
		}
	}
}

// again is ready when somebody wants a new listing; never while one is under way, which may be the one.
func (r *reflector) again(filling bool) <-chan struct{} {
	if filling {
		return nil
	}
	return r.mirror.again
}

func watchError(o runtime.Object) error {
	err := apierrors.FromObject(o)
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return errExpired
	}
	return err
}

// list fills the mirror page by page.
func (r *reflector) list(ctx context.Context) error {
	found := objects{}
	options := metav1.ListOptions{Limit: listPage}
	for {
		result, err := r.client.Get().Resource(r.mirror.info.Plural).SpecificallyVersionedParams(&options, scheme.ParameterCodec, optionsVersion).Do(ctx).Get()
		if err != nil {
			return err
		}
		list, err := meta.ListAccessor(result)
		if err != nil {
			return err
		}
		err = meta.EachListItem(result, func(item runtime.Object) error {
			o, ok := item.(kind.Object)
			if !ok {
				return errors.New("list holds an object of an unexpected type")
			}
			found[objectKey{o.GetNamespace(), o.GetName()}] = o
			return nil
		})
		if err != nil {
			return err
		}
		options.Continue = list.GetContinue()
		if options.Continue != "" {
			continue
		}
		return r.listed(found, list.GetResourceVersion())
	}
}
