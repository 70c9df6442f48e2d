package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

func readList(x *exchange, c *call) error { return x.readListOptions(&c.ListOptions) }

func readWatch(x *exchange, c *call) error {
	if err := x.readListOptions(&c.ListOptions); err != nil {
		return err
	}
	c.ListOptions.Watch = true // the path may say so instead of the query
	if len(c.ListOptions.LabelSelector)+len(c.ListOptions.FieldSelector) > longSelector {
		return x.take(&x.large, x.limits.large)
	}
	return nil
}

func (x *exchange) readListOptions(o *metav1.ListOptions) error {
	return readOptions(x, o, func(q *url.Values, o *metav1.ListOptions) error {
		return metav1.Convert_url_Values_To_v1_ListOptions(q, o, nil)
	})
}

func (c *call) list(ctx context.Context) (*Response, error) {
	o, err := c.listOptions()
	if err != nil {
		return nil, err
	}
	list, err := c.rt.resource.List(ctx, o)
	if err != nil {
		return nil, err
	}
	return &Response{Code: http.StatusOK, List: list}, nil
}

// listOptions parses and checks the options of a list, a watch, or the deletion of a collection.
func (c *call) listOptions() (registry.ListOptions, error) {
	l := &c.ListOptions
	o := registry.ListOptions{Namespace: c.Namespace, ResourceVersion: l.ResourceVersion, ResourceVersionMatch: l.ResourceVersionMatch,
		Limit: max(l.Limit, 0), Continue: l.Continue}
	if c.rt.resource == nil {
		return o, methodNotAllowed()
	}
	err := checkSelectors(l)
	if err != nil {
		return o, err
	}
	if l.LabelSelector != "" {
		if o.Label, err = labels.Parse(l.LabelSelector); err != nil {
			return o, apierrors.NewBadRequest(err.Error())
		}
	}
	if l.FieldSelector != "" {
		if o.Field, err = fields.ParseSelector(l.FieldSelector); err != nil {
			return o, apierrors.NewBadRequest(err.Error())
		}
	}
	if err := c.checkListOptions(); err != nil {
		return o, err
	}
	if o.Field != nil {
		if err := supported(c.rt.info, o.Field); err != nil {
			return o, err
		}
	}
	if c.Name != "" {
		// The old watch of a single object: its name stands in the path.
		if name, ok := exactName(o.Field); o.Field != nil && !o.Field.Empty() && (!ok || name != c.Name) {
			return o, apierrors.NewBadRequest("fieldSelector metadata.name doesn't match requested name")
		}
		o.Field = fields.OneTermEqualSelector("metadata.name", c.Name)
	}
	return o, nil
}

func exactName(f fields.Selector) (string, bool) {
	if f == nil {
		return "", false
	}
	return f.RequiresExactMatch("metadata.name")
}

// checkListOptions judges which options may stand together, and sets those that a watch implies.
func (c *call) checkListOptions() error {
	l := &c.ListOptions
	if l.Watch && l.SendInitialEvents == nil && l.ResourceVersionMatch == "" && (l.ResourceVersion == "" || l.ResourceVersion == "0") {
		// Such a watch begins with what there is, as if it had asked for that.
		yes := true
		l.SendInitialEvents, l.ResourceVersionMatch = &yes, metav1.ResourceVersionMatchNotOlderThan
	}
	if l.ResourceVersionMatch == "" && l.SendInitialEvents == nil {
		return nil
	}
	return invalidOptions("ListOptions", validation.ValidateListOptions(&internalversion.ListOptions{
		Watch: l.Watch, ResourceVersion: l.ResourceVersion, ResourceVersionMatch: l.ResourceVersionMatch, Continue: l.Continue,
		SendInitialEvents: l.SendInitialEvents}, true))
}

// supported refuses field selectors that the kind does not have.
func supported(info *kind.Kind, f fields.Selector) error {
	for _, r := range f.Requirements() {
		if !hasField(info, r.Field) {
			return apierrors.NewBadRequest(fmt.Sprintf("field label not supported: %s", r.Field))
		}
	}
	return nil
}

func hasField(info *kind.Kind, name string) bool {
	switch name {
	case "metadata.name":
		return true
	case "metadata.namespace":
		return info.Namespaced || len(info.Fields) == 0
	}
	for _, f := range info.Fields {
		if f.Name == name {
			return true
		}
	}
	return false
}
