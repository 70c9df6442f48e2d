package api

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// goldenFolder is where the module of the API types keeps an example of every kind in every encoding.
func goldenFolder(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/api").Output()
	if err != nil {
		t.Fatalf("cannot find the module k8s.io/api: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "testdata", "HEAD")
}

// TestGolden takes the golden object of every kind from JSON and YAML to the stored form and back.
func TestGolden(t *testing.T) {
	folder := goldenFolder(t)
	for _, i := range defined() {
		group := i.GVK.Group
		if group == "" {
			group = "core"
		}
		file := filepath.Join(folder, group+"."+i.GVK.Version+"."+i.GVK.Kind)
		t.Run(filepath.Base(file), func(t *testing.T) {
			stored := read(t, file+".pb")
			text := read(t, file+".json")
			fromYAML, err := yaml.YAMLToJSON(read(t, file+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			// Free-form values keep the spacing in which they are sent.
			var dense bytes.Buffer
			if err := json.Compact(&dense, text); err != nil {
				t.Fatal(err)
			}
			for name, data := range map[string][]byte{"JSON": dense.Bytes(), "YAML": fromYAML} {
				o := i.New()
				if err := kjson.UnmarshalCaseSensitivePreserveInts(data, o); err != nil {
					t.Fatal(err)
				}
				o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
				raw, err := o.(kind.Message).Marshal()
				if err != nil {
					t.Fatal(err)
				}
				envelope := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: i.GVK.GroupVersion().String(), Kind: i.GVK.Kind}, Raw: raw}
				body, err := envelope.Marshal()
				if err != nil {
					t.Fatal(err)
				}
				if got := append([]byte("k8s\x00"), body...); !bytes.Equal(got, stored) {
					t.Errorf("%s becomes other bytes than the golden ones", name)
				}
			}
			var envelope runtime.Unknown
			if err := envelope.Unmarshal(stored[4:]); err != nil {
				t.Fatal(err)
			}
			back := i.New()
			if err := back.(kind.Message).Unmarshal(envelope.Raw); err != nil {
				t.Fatal(err)
			}
			back.GetObjectKind().SetGroupVersionKind(i.GVK)
			again, err := json.Marshal(back)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(decode(t, again), decode(t, text)) {
				t.Error("the stored form reads back differently")
			}
		})
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func decode(t *testing.T, data []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestCatalog checks what every kind must state, and that all ways to find a kind agree.
func TestCatalog(t *testing.T) {
	seen := map[schema.GroupVersionResource]bool{}
	for _, i := range Kinds() {
		if seen[i.GVR()] {
			t.Errorf("%s is in the catalog twice", i.GVR())
		}
		seen[i.GVR()] = true
		if found, ok := builtIn().ByGVK(i.GVK); !ok || found != i {
			t.Errorf("%s is not found by kind", i.GVK)
		}
		if found, ok := builtIn().ByGVR(i.GVR()); !ok || found != i {
			t.Errorf("%s is not found by resource", i.GVR())
		}
		if found, ok := builtIn().ByType(reflect.TypeOf(i.New())); !ok || found != i {
			t.Errorf("%s is not found by Go type", i.GVK)
		}
		if i.Serves("list") && i.NewList() == nil {
			t.Errorf("%s is listed but has no list type", i.GVK)
		}
		if i.Serves("get") && i.ValidName == nil {
			t.Errorf("%s is stored but any name will do", i.GVK)
		}
		if i.Serves("list") && len(i.Columns) == 0 {
			t.Errorf("%s has no columns", i.GVK)
		}
		for _, c := range i.Columns {
			if c.Name == "" || c.Type == "" || c.Description == "" {
				t.Errorf("%s: column %q of type %q says %q", i.GVK, c.Name, c.Type, c.Description)
			}
		}
	}
	if i, ok := builtIn().ByGR(schema.GroupResource{Resource: "events"}); !ok || i.Via != nil {
		t.Error("events are not found in their stored version")
	}
}
