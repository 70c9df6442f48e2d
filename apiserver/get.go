package apiserver

import (
	"context"
	"net/http"
	"net/url"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func readGet(x *exchange, c *call) error {
	return readOptions(x, &c.GetOptions, func(q *url.Values, o *metav1.GetOptions) error {
		return metav1.Convert_url_Values_To_v1_GetOptions(q, o, nil)
	})
}

func (c *call) get(ctx context.Context) (*Response, error) {
	item, err := c.rt.resource.Get(ctx, c.Namespace, c.Name, c.GetOptions.ResourceVersion)
	if err != nil {
		return nil, err
	}
	return &Response{Code: http.StatusOK, Item: item}, nil
}
