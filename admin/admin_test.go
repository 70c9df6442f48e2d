package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
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

// TestAnswers: what a master does not answer is not taken for an answer: one without end, half of one, and the way to another server.
func TestAnswers(t *testing.T) {
	elsewhere := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case Root + "endless":
			_, _ = io.WriteString(w, `["`)
			for _, err := io.WriteString(w, "x"); err == nil; {
				_, err = io.WriteString(w, strings.Repeat("x", 1<<20))
			}
		case Root + "half":
			_, _ = io.WriteString(w, `["x"`)
		case Root + "elsewhere":
			http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
		}
	}))
	defer server.Close()
	c, err := NewClient(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for path, want := range map[string]string{"endless": "it is longer than", "half": "unexpected EOF", "elsewhere": "Temporary Redirect"} {
		if err := c.Post(t.Context(), path, "a secret", &out); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if elsewhere != 0 {
		t.Error("another server was told")
	}
}
