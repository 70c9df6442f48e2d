package reconcile

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
)

// Guarded is a transport for one controller. It notes what each run writes, or may have written, for the engine to wait for, and
// when a declaration has been bound to it, refuses writes that the declaration does not name.
type Guarded struct {
	client.Transport
	controller *Controller
}

// Guard wraps the transport that a controller is made with.
func Guard(t client.Transport) *Guarded { return &Guarded{Transport: t} }

// Bind holds the controller to its declaration.
func (g *Guarded) Bind(c *Controller) { g.controller = c }

// Do refuses what was not declared, and notes the revision of what was written.
func (g *Guarded) Do(ctx context.Context, r client.Request) (runtime.Object, error) {
	if g.controller != nil && !r.Verb.Reads() && !g.controller.mayWrite(r) {
		return nil, apierrors.NewInternalError(fmt.Errorf("%s does not declare that it writes: %s %s/%s", g.controller.Name, r.Verb, r.Kind.Plural, r.Subresource))
	}
	answer, err := g.Transport.Do(ctx, r)
	w, counted := ctx.Value(writesKey{}).(*writes)
	if r.Verb.Reads() || !counted {
		return answer, err
	}
	if o, ok := answer.(kind.Object); ok && err == nil {
		w.note(client.Revision(o))
	} else if client.OutcomeUnknown(err) {
		w.leaveOpen(r.Kind)
	}
	return answer, err
}

func (c *Controller) mayWrite(r client.Request) bool {
	return slices.ContainsFunc(c.Writes, func(w Write) bool {
		return (w.Kind == nil || w.Kind == r.Kind) && w.Subresource == r.Subresource && slices.Contains(w.Verbs, r.Verb)
	})
}
