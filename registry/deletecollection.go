package registry

import (
	"context"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	// deleteWorkers delete the objects of a collection at the same time: the store makes one batch of many writes.
	deleteWorkers = 32
	// deletePage is how many objects are listed at once.
	deletePage = 10000
)

// DeleteCollection deletes what a list finds, in parallel, and returns the items it acted on.
// It is not atomic: after an error some of the objects may be gone.
func (r *Resource) DeleteCollection(ctx context.Context, l ListOptions, o DeleteOptions) (*List, error) {
	one := l.Limit > 0
	if !one {
		l.Limit = deletePage
	}
	var all *List
	for {
		page, err := r.List(ctx, l)
		if err != nil {
			return nil, err
		}
		if err := r.deleteAll(ctx, page.Items, o); err != nil {
			return nil, err
		}
		if all == nil {
			all = page
		} else {
			all.Items = append(all.Items, page.Items...)
		}
		if one {
			return all, nil
		}
		if page.Continue == "" {
			all.Continue, all.Remaining = "", nil
			return all, nil
		}
		l.Continue, l.ResourceVersion, l.ResourceVersionMatch = page.Continue, "", "" // the token has the revision of the first page
	}
}

// deleteAll deletes items at the same time. The first error ends it; an object that is gone already is none.
func (r *Resource) deleteAll(ctx context.Context, items []*Item, o DeleteOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wait  sync.WaitGroup
		once  sync.Once
		first error
		queue = make(chan *Item)
	)
	for range min(deleteWorkers, len(items)) {
		wait.Go(func() {
			for i := range queue {
				_, _, err := r.Delete(ctx, i.Namespace(), i.Name(), o)
				if err != nil && !apierrors.IsNotFound(err) {
					once.Do(func() { first = err; cancel() })
				}
			}
		})
	}
	// The queue has no room, and all workers read until it is closed: a failed one too, so that this never waits for nobody.
	for _, i := range items {
		if ctx.Err() != nil {
			break
		}
		queue <- i
	}
	close(queue)
	wait.Wait()
	if first == nil {
		return ctx.Err()
	}
	return first
}
