package apiserver

import (
	"context"
	"fmt"
	"strings"
	"unicode"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/warning"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// call is one request of a resource while its verb works on it.
type call struct {
	*Request
	s    *Server
	rt   *route
	row  *endpoint
	warn *warnings
}

// execute calls the verb. The request has been authorized.
func (c *call) execute(ctx context.Context) (*Response, error) {
	if c.row.do == nil {
		return nil, methodNotAllowed()
	}
	if d := c.rt.info.Deprecation; d != "" {
		c.warn.add(d)
	}
	if !c.Verb.Reads() {
		ctx = warning.WithWarningRecorder(ctx, c.warn)
	}
	resp, err := c.row.do(c, ctx)
	if err != nil {
		return nil, err
	}
	resp.Warnings = c.warn.all()
	return resp, nil
}

// request is what an HTTP request asks of a resource, options and body left out.
func (x *exchange) request(rt *route) *Request {
	t := &x.target
	r := &Request{User: x.user, Verb: t.verb, Kind: rt.info, Subresource: t.subresource, UserAgent: x.r.Header.Get("User-Agent")}
	if rt.info.Namespaced {
		r.Namespace = t.namespace
	}
	if t.byPath {
		r.Name = t.name
	}
	return r
}

// run executes the request and writes the answer.
func (x *exchange) run(c *call) {
	resp, err := x.execute(c)
	if err != nil {
		x.warn(c.warn.all())
		x.fail(err)
		return
	}
	x.reply(c.rt, resp)
}

// execute gives the answer to the request. Light ones are computed here and now, without the cost of a workshop's closure.
func (x *exchange) execute(c *call) (*Response, error) {
	if err := x.ctx.Err(); err != nil {
		return nil, err
	}
	if !x.heavy() {
		return c.execute(x.ctx)
	}
	resp := new(*Response)
	err := x.compute(c.s, func() (err error) {
		*resp, err = c.execute(x.ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return *resp, nil
}

// body is the request's object as one of the kind.
func (c *call) body() (kind.Object, error) {
	o, ok := c.Object.(kind.Object)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the request has no %s", c.rt.info.GVK.Kind))
	}
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return o, nil
}

// setNamespace puts the object into the request's namespace, unless it says another.
func setNamespace(o metav1.Object, namespace string) error {
	switch {
	case o.GetNamespace() == namespace:
	case o.GetNamespace() == "" || namespace == "":
		o.SetNamespace(namespace)
	default:
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return nil
}

// sameName checks the name in a body against the one in the path.
func sameName(o metav1.Object, name string) error {
	switch o.GetName() {
	case name:
		return nil
	case "":
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s based on URL) was undeterminable: name must be provided", name))
	}
	return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", o.GetName(), name))
}

// manager is who is recorded as having set fields: what the options say, or the first part of the user agent.
func manager(option, agent string) string {
	if option != "" {
		return option
	}
	const most = 128
	agent, _, _ = strings.Cut(agent, "/")
	for i, r := range agent {
		if i >= most || !unicode.IsPrint(r) {
			return agent[:i]
		}
	}
	return agent
}

// uniqueOwners drops owner references that stand twice.
func (c *call) uniqueOwners(o metav1.Object) {
	owners := o.GetOwnerReferences()
	if len(owners) < 2 {
		return
	}
	seen := map[metav1.OwnerReference]bool{}
	var kept []metav1.OwnerReference
	var twice []string
	for _, ref := range owners {
		key := ref
		key.Controller, key.BlockOwnerDeletion = nil, nil // they say how it owns, not who
		if seen[key] {
			twice = append(twice, string(ref.UID))
			continue
		}
		seen[key] = true
		kept = append(kept, ref)
	}
	if len(twice) > 0 {
		o.SetOwnerReferences(kept)
		c.warn.add(fmt.Sprintf(".metadata.ownerReferences contains duplicate entries, which the server has removed; duplicate UID(s) observed: %s", strings.Join(twice, ", ")))
	}
}

// track records who set which fields.
func (c *call) track(next, old kind.Object, option string) error {
	if c.s.Tracker == nil {
		return nil
	}
	who := manager(option, c.UserAgent)
	if old == nil {
		return c.s.Tracker.Created(c.rt.info, next, who, c.Subresource, c.s.Now())
	}
	return c.s.Tracker.Updated(c.rt.info, next, old, who, c.Subresource, c.s.Now())
}

// requested notes in a new object who asks for it, where its kind wants to know.
func (c *call) requested(o kind.Object) {
	by := kind.Requester(c.User)
	if c.User == nil {
		by = &user.DefaultInfo{}
	}
	c.rt.info.Requested(o, by)
}

// admitted is what admission is told of an operation.
type admitted struct {
	operation admission.Operation
	options   runtime.Object
	dryRun    bool
	// gvk is the kind of the objects that admission sees.
	gvk schema.GroupVersionKind
}

func (c *call) admission(op admission.Operation, options runtime.Object, dryRun []string) admitted {
	return admitted{operation: op, options: options, dryRun: len(dryRun) > 0, gvk: c.rt.info.GVK}
}

func (c *call) attributes(a admitted, next, old runtime.Object) admission.Attributes {
	name, namespace := c.Name, c.Namespace
	if o, ok := next.(metav1.Object); ok && name == "" {
		name = o.GetName()
	}
	if c.rt.info.IsNamespace { // upstream takes a namespace for one of its own objects, and plugins rely on it
		namespace = name
	}
	return admission.NewAttributesRecord(next, old, a.gvk, namespace, name, c.rt.gvr, c.Subresource, a.operation, a.options, a.dryRun, c.User)
}

// mutate lets admission change the object.
func (c *call) mutate(ctx context.Context, a admitted, next, old runtime.Object) error {
	if m := c.s.mutates; m != nil && m.Handles(a.operation) {
		return m.Admit(ctx, c.attributes(a, next, old), c.s.ObjectInterfaces)
	}
	return nil
}

// validates tells whether validate has anything to do.
func (c *call) validates(a admitted) bool {
	return c.s.validates != nil && c.s.validates.Handles(a.operation)
}

// validate lets admission refuse the object.
func (c *call) validate(ctx context.Context, a admitted, next, old runtime.Object) error {
	if !c.validates(a) {
		return nil
	}
	return c.s.validates.Validate(ctx, c.attributes(a, next, old), c.s.ObjectInterfaces)
}

// Kinds of options, which admission webhooks are told.
func typed(kindName string) metav1.TypeMeta {
	return metav1.TypeMeta{Kind: kindName, APIVersion: metav1.SchemeGroupVersion.String()}
}
