// Package recorded holds a kind's definition against what a Kubernetes API server answered when objects were created:
// with which defaults it kept them, or which fields it complained about.
//
// What admission adds on the way (the default service account and its volume, tolerations, the priority) is left out
// of the comparison, since definitions know nothing of it.
package recorded

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"sort"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	sigsjson "sigs.k8s.io/json"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Case is one creation and its answer.
type Case struct {
	ID   string          `json:"id"`
	Body json.RawMessage `json:"body"`
	// Causes are pairs of field and reason; nil if the object was accepted.
	Causes [][2]string `json:"causes,omitempty"`
	// Object is what was kept; empty if it was not recorded.
	Object json.RawMessage `json:"object,omitempty"`
	// Warnings is the number of warnings that came with the answer; nil if it was not recorded.
	Warnings *int `json:"warnings,omitempty"`
}

// Run holds info against the cases in a file, one JSON object a line.
func Run(t *testing.T, info *kind.Info, file string) {
	t.Helper()
	cases, err := read(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatalf("%s has no cases", file)
	}
	for _, c := range cases {
		t.Run(strings.ReplaceAll(c.ID, "/", "_"), func(t *testing.T) { check(t, info, c) })
	}
}

func read(file string) ([]Case, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var cases []Case
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c Case
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, err
		}
		cases = append(cases, c)
	}
	return cases, lines.Err()
}

func check(t *testing.T, info *kind.Info, c Case) {
	obj := info.New()
	if err := sigsjson.UnmarshalCaseSensitivePreserveInts(c.Body, obj); err != nil {
		t.Fatal(err)
	}
	if info.Namespaced {
		obj.SetNamespace("default")
	}
	info.Default(obj)
	if pod, ok := obj.(*corev1.Pod); ok && pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = "default"
	}
	info.PrepareCreate(obj)
	errs := info.Validate(obj)
	if name := obj.GetName(); name != "" && len(info.ValidName(name, false)) > 0 {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), name, ""))
	}
	if got, want := causes(errs), sorted(c.Causes); !reflect.DeepEqual(got, want) {
		t.Fatalf("causes\n got %v\nwant %v\nbody %s", got, want, c.Body)
	}
	if len(c.Causes) > 0 {
		return
	}
	if c.Warnings != nil {
		if got := info.Warnings(obj, nil); len(got) != *c.Warnings {
			t.Errorf("%d warnings, want %d: %q", len(got), *c.Warnings, got)
		}
	}
	if len(c.Object) > 0 {
		compare(t, obj, c.Object)
	}
}

// causes are the set of field and reason, as in the causes of a Status.
func causes(errs field.ErrorList) [][2]string {
	var pairs [][2]string
	for _, e := range errs {
		pairs = append(pairs, [2]string{e.Field, string(e.Type)}) // the types of errors are the reasons of causes
	}
	return sorted(pairs)
}

func sorted(pairs [][2]string) [][2]string {
	set := map[[2]string]bool{}
	var list [][2]string
	for _, p := range pairs {
		if !set[p] && !ofRegistry(p) {
			set[p] = true
			list = append(list, p)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i][0]+" "+list[i][1] < list[j][0]+" "+list[j][1] })
	return list
}

// ofRegistry tells whether a cause is about metadata that the registry judges for all kinds alike.
func ofRegistry(cause [2]string) bool {
	if !strings.HasPrefix(cause[0], "metadata") || cause[0] == "metadata.name" && cause[1] == string(field.ErrorTypeInvalid) {
		return false
	}
	return !strings.HasPrefix(cause[0], "metadata.annotations[") && !strings.HasPrefix(cause[0], "metadata.annotations.")
}

func compare(t *testing.T, obj kind.Object, want []byte) {
	data, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	got, recorded := plain(t, data), plain(t, want)
	for _, member := range []string{"spec", "status", "template", "data", "revision"} {
		if !reflect.DeepEqual(got[member], recorded[member]) {
			t.Errorf("%s\n got %s\nwant %s", member, text(got[member]), text(recorded[member]))
		}
	}
	if g, w := annotations(got), annotations(recorded); !reflect.DeepEqual(g, w) {
		t.Errorf("annotations %v, want %v", g, w)
	}
}

func annotations(o map[string]any) any {
	metadata, _ := o["metadata"].(map[string]any)
	return metadata["annotations"]
}

func text(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// plain decodes an object without what admission adds and without times.
func plain(t *testing.T, data []byte) map[string]any {
	var o map[string]any
	if err := json.Unmarshal(data, &o); err != nil {
		t.Fatal(err)
	}
	if spec, ok := o["spec"].(map[string]any); ok {
		withoutAdmission(spec)
	}
	if status, ok := o["status"].(map[string]any); ok {
		conditions, _ := status["conditions"].([]any)
		for _, c := range conditions {
			delete(c.(map[string]any), "lastTransitionTime")
		}
	}
	return o
}

func withoutAdmission(spec map[string]any) {
	if spec["serviceAccountName"] == "default" {
		delete(spec, "serviceAccountName")
		delete(spec, "serviceAccount")
	}
	delete(spec, "priority")
	delete(spec, "preemptionPolicy")
	keep(spec, "volumes", func(v map[string]any) bool { return !tokenName(v["name"]) })
	keep(spec, "tolerations", func(v map[string]any) bool { return v["tolerationSeconds"] != float64(300) })
	for _, list := range []string{"initContainers", "containers"} {
		containers, _ := spec[list].([]any)
		for _, c := range containers {
			keep(c.(map[string]any), "volumeMounts", func(v map[string]any) bool { return !tokenName(v["name"]) })
		}
	}
}

func tokenName(name any) bool {
	s, _ := name.(string)
	return strings.HasPrefix(s, "kube-api-access-")
}

// keep drops the elements of a list that wanted refuses, and the list with the last one.
func keep(o map[string]any, list string, wanted func(map[string]any) bool) {
	elements, ok := o[list].([]any)
	if !ok {
		return
	}
	var rest []any
	for _, e := range elements {
		if wanted(e.(map[string]any)) {
			rest = append(rest, e)
		}
	}
	delete(o, list)
	if len(rest) > 0 {
		o[list] = rest
	}
}
