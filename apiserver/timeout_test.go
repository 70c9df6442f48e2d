package apiserver

import (
	"net/http/httptest"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// A request may ask for less time than the server gives, and not for more.
func TestTimeoutOf(t *testing.T) {
	s := &Server{Options: Options{Timeout: time.Minute}}
	for query, want := range map[string]time.Duration{
		"": time.Minute, "timeoutSeconds=5": time.Minute, "timeout=": time.Minute, "timeout=0s": time.Minute, "timeout=-1s": time.Minute,
		"timeout=3s": 3 * time.Second, "limit=1&timeout=250ms": 250 * time.Millisecond, "timeout=2h": time.Minute,
	} {
		got, err := s.timeoutOf(httptest.NewRequest("GET", "/api/v1/pods?"+query, nil))
		if got != want || err != nil {
			t.Errorf("%q: %v, %v, want %v", query, got, err, want)
		}
	}
	if _, err := s.timeoutOf(httptest.NewRequest("GET", "/api/v1/pods?timeout=soon", nil)); !apierrors.IsBadRequest(err) {
		t.Errorf("not a duration: %v", err)
	}
}
