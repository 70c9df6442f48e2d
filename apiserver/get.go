package apiserver

import (
	"context"
	"net/http"
	"net/url"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (s *Server) serveGet(x *exchange, rt *route) {
	r := x.request(rt)
	err := readOptions(x, &r.GetOptions, func(q *url.Values, o *metav1.GetOptions) error {
		return metav1.Convert_url_Values_To_v1_GetOptions(q, o, nil)
	})
	if err != nil {
		x.fail(err)
		return
	}
	x.run(s, rt, r, &warnings{})
}

func (c *call) get(ctx context.Context) (*Response, error) {
	switch {
	case c.computed() != nil:
		return c.getComputed(ctx)
	case c.rt.resource == nil:
		return nil, methodNotAllowed()
	case c.Subresource == "scale" && c.rt.info.Scale != nil:
		return c.getScale(ctx)
	}
	item, err := c.rt.resource.Get(ctx, c.Namespace, c.Name, c.GetOptions.ResourceVersion)
	if err != nil {
		return nil, err
	}
	return &Response{Code: http.StatusOK, Item: item}, nil
}
