package master

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/client"
)

// controllerUser may read every object of the kinds that it collects.
const controllerUser = "system:serviceaccount:kube-system:generic-garbage-collector"

// TestLookInProcess: the proof of absence without HTTP.
func TestLookInProcess(t *testing.T) {
	t.Parallel()
	m := run(t, func(c *Config) { c.DataDir, c.Components = "", []Component{APIServer} })
	maps := client.For[*corev1.ConfigMap](m.server.as("system:serviceaccount:kube-system:root-ca-cert-publisher"))
	first, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	maps = client.For[*corev1.ConfigMap](m.server.as(controllerUser))
	for _, c := range []struct {
		what string
		want client.Presence
		f    client.Finding
	}{
		{"there", client.Present, maps.Look(t.Context(), "default", "a", first.UID)},
		{"by name", client.Present, maps.Look(t.Context(), "default", "a", "")},
		{"replaced", client.Replaced, maps.Look(t.Context(), "default", "a", "another")},
		{"absent", client.Absent, maps.Look(t.Context(), "default", "b", first.UID)},
		{"absent with its namespace", client.Absent, maps.Look(t.Context(), "elsewhere", "a", first.UID)},
		{"not of this scope", client.Unknown, maps.Look(t.Context(), "", "a", first.UID)},
		{"forbidden", client.Forbidden, client.For[*corev1.ConfigMap](m.server.as("somebody")).Look(t.Context(), "default", "b", "")},
	} {
		if c.f.Presence != c.want {
			t.Errorf("%s: %s (%v)", c.what, c.f.Presence, c.f.Err)
		}
	}
}
