package admin

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
)

// TestCommands calls commands as the command line does: answers arrive, refusals keep their reason.
func TestCommands(t *testing.T) {
	type number struct{ N int }
	server := httptest.NewServer(Mux([]Command{
		{Method: "POST", Path: "double", Handler: Handle(func(_ context.Context, in number) (number, error) { return number{2 * in.N}, nil })},
		{Method: "GET", Path: "refused", Handler: Handle(func(context.Context, struct{}) (number, error) { return number{}, Refused("not now") })},
		{Method: "GET", Path: "broken", Handler: Handle(func(context.Context, struct{}) (number, error) { return number{}, errors.New("broken") })},
		{Method: "DELETE", Path: "things/{name}", Handler: HandleRequest(func(r *http.Request, _ struct{}) (string, error) { return r.PathValue("name"), nil })},
	}))
	defer server.Close()
	c, err := NewClient(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	var doubled number
	if err := c.Post(ctx, "double", number{21}, &doubled); err != nil || doubled.N != 42 {
		t.Errorf("double: %v, %v", doubled, err)
	}
	var name string
	if err := c.Do(ctx, http.MethodDelete, "things/a", nil, &name); err != nil || name != "a" {
		t.Errorf("things: %q, %v", name, err)
	}
	if err := c.Get(ctx, "refused", nil); !apierrors.IsConflict(err) || err.Error() != "not now" {
		t.Errorf("refused: %v", err)
	}
	if err := c.Get(ctx, "broken", nil); !apierrors.IsInternalError(err) {
		t.Errorf("broken: %v", err)
	}
	if err := c.Get(ctx, "unknown", nil); !apierrors.IsNotFound(err) {
		t.Errorf("unknown: %v", err)
	}
	if err := c.Post(ctx, "double", "no number", nil); !apierrors.IsBadRequest(err) {
		t.Errorf("wrong body: %v", err)
	}
}
