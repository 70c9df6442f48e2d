package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
)

// errUndeclared is the fault of a controller that does what it has not declared.
var errUndeclared = errors.New("this is not declared")

// guard is the transport of one controller. It refuses what the controller has not declared, and notes what each run
// writes, or may have written, for the engine to wait for.
type guard struct {
	client.Transport
	declared Declaration // written while the controller is made, never afterwards
	sealed   bool        // the controller is made
}

func (g *guard) declareRead(r Read) {
	g.mustBeOpen()
	g.declared.Reads = append(g.declared.Reads, r)
}

func (g *guard) declareViews(v *Views) {
	g.mustBeOpen()
	g.declared.AllReads = append(g.declared.AllReads, v)
}

func (g *guard) declareWrite(w Write) {
	g.mustBeOpen()
	g.declared.Writes = append(g.declared.Writes, w)
}

func (g *guard) mustBeOpen() {
	if g.sealed {
		panic(g.declared.Name + " declares something after it was made")
	}
}

// View refuses, by a panic, the view of a kind that is not declared to be read: there is no run that could do without it.
func (g *guard) View(k *kind.Kind) client.View {
	if !g.declared.reads(k) {
		panic(fmt.Errorf("%s reads %s: %w", g.declared.Name, k.Plural, errUndeclared))
	}
	return g.Transport.View(k)
}

// Do refuses what is not declared, and notes the revision of what was written.
func (g *guard) Do(ctx context.Context, r client.Request) (runtime.Object, error) {
	if r.Verb.Reads() {
		if !g.declared.reads(r.Kind) {
			return nil, g.refuse(r)
		}
		return g.Transport.Do(ctx, r)
	}
	if !g.declared.writes(r) {
		return nil, g.refuse(r)
	}
	w, counted := ctx.Value(writesKey{}).(*writes)
	if !counted {
		return g.Transport.Do(ctx, r)
	}
	gone := g.doomed(r)
	answered := false
	defer func() {
		if !answered { // it panicked, and who knows how far it had come
			w.leaveOpen(r.Kind)
		}
	}()
	answer, err := g.Transport.Do(ctx, r)
	answered = true
	o, is := answer.(kind.Object)
	switch {
	case client.OutcomeUnknown(err):
		w.leaveOpen(r.Kind)
	case err != nil:
	case is && client.Revision(o) != 0:
		w.note(client.Revision(o))
	case gone != nil:
		gone(w)
	}
	return answer, err
}

// doomed tells how to wait for a deletion, should its answer have no revision: that of an object which has gone at once has none. The
// result is nil if there is nothing to wait for.
func (g *guard) doomed(r client.Request) func(*writes) {
	if r.Verb != kind.Delete && r.Verb != kind.DeleteCollection || r.Subresource != "" {
		return nil
	}
	view := g.declared.viewOf(r.Kind)
	if view == nil {
		return nil
	}
	o, shown := view.Get(r.Namespace, r.Name)
	p := r.Delete.Preconditions
	if r.Verb == kind.DeleteCollection || !shown || p != nil && p.UID != nil && *p.UID != o.GetUID() {
		return func(w *writes) { w.leaveOpen(r.Kind) } // who knows what the view is about to show
	}
	return func(w *writes) { w.leave(leaving{view, r.Namespace, r.Name, o.GetUID()}) }
}

// refuse is an error that is known to be one: nothing was sent.
func (g *guard) refuse(r client.Request) error {
	if slices.ContainsFunc(g.declared.AllReads, func(v *Views) bool { return v.matching.Has(r.Kind) }) {
		return fmt.Errorf("%s: %s of %s: %w", g.declared.Name, r.Verb, r.Kind.Plural, errShifted) // it was declared a moment ago
	}
	return apierrors.NewInternalError(fmt.Errorf("%s: %s of %s/%s: %w", g.declared.Name, r.Verb, r.Kind.Plural, r.Subresource, errUndeclared))
}

func (d *Declaration) reads(k *kind.Kind) bool { return d.viewOf(k) != nil }

// viewOf is the view in which the controller sees a kind, nil if it does not.
func (d *Declaration) viewOf(k *kind.Kind) client.View {
	for _, r := range d.Reads {
		if r.Kind == k {
			return r.view
		}
	}
	for _, v := range d.AllReads {
		if one := v.Now().Of(k); one != nil {
			return one
		}
	}
	return nil
}

func (d *Declaration) writes(r client.Request) bool {
	return slices.ContainsFunc(d.Writes, func(w Write) bool {
		return (w.Kind == r.Kind || w.All != nil && w.All.Now().Of(r.Kind) != nil) && w.Subresource == r.Subresource && slices.Contains(w.Verbs, r.Verb)
	})
}
