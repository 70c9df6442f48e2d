package apiserver_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

// TestManyManagers lets ever more managers apply a large object: what is kept of them is bounded, what is there can still be
// changed, and one can begin anew.
func TestManyManagers(t *testing.T) {
	h := newHouse(t, nil)
	client, err := rest.HTTPClientFor(h.as("root"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	keys := make([]string, 1000)
	for n := range keys {
		keys[n] = fmt.Sprintf(`"%s-%d":"v"`, strings.Repeat("k", 200), n)
	}
	const path = base + "/configmaps/shared"
	send := func(query, contentType, body string) (int, string) {
		r, err := http.NewRequest(http.MethodPatch, h.config.Host+path+query, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", contentType)
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode, resp.Status
	}
	whole := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"shared"},"data":{` + strings.Join(keys, ",") + `}}`
	var codes []int
	for n := range 8 {
		code, _ := send(fmt.Sprint("?fieldManager=m", n), "application/apply-patch+yaml", whole)
		codes = append(codes, code)
	}
	if want := fmt.Sprint([]int{201, 200, 200, 200, 413, 413, 413, 413}); fmt.Sprint(codes) != want {
		t.Errorf("%v instead of %s", codes, want)
	}
	for _, body := range []string{`{"data":{"other":"w"}}`, `{"metadata":{"managedFields":[{}]}}`} {
		if code, status := send("", "application/merge-patch+json", body); code != http.StatusOK {
			t.Errorf("%s: %s", body, status)
		}
	}
	if code, status := send("?fieldManager=m7", "application/apply-patch+yaml", whole); code != http.StatusOK {
		t.Errorf("after a new beginning: %s", status)
	}
}
