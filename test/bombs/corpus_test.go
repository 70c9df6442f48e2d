package bombs

import (
	"net/http"
	"reflect"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

const (
	jsonType     = "application/json"
	yamlType     = "application/yaml"
	protobufType = "application/vnd.kubernetes.protobuf"
	jsonPatch    = "application/json-patch+json"
	mergePatch   = "application/merge-patch+json"
	strategic    = "application/strategic-merge-patch+json"
	applyType    = "application/apply-patch+yaml"
)

// corpus is all bombs.
func corpus() []bomb {
	bombs := invented()
	seen := map[string]bool{}
	for _, k := range api.Kinds() {
		if k.Serves("create") {
			bombs = append(bombs, fieldBombs(reflect.TypeOf(k.New()), k.GVK, collection(k), seen)...)
		}
	}
	for path, o := range map[string]any{
		"/api/v1/namespaces/default/pods/absent/binding":        &corev1.Binding{},
		"/api/v1/namespaces/default/pods/absent/eviction":       &policyv1.Eviction{},
		"/api/v1/namespaces/default/serviceaccounts/user/token": &authenticationv1.TokenRequest{},
	} {
		gvk := map[string]schema.GroupVersionKind{"Binding": corev1.SchemeGroupVersion.WithKind("Binding"), "Eviction": policyv1.SchemeGroupVersion.WithKind("Eviction"),
			"TokenRequest": authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")}[reflect.TypeOf(o).Elem().Name()]
		bombs = append(bombs, fieldBombs(reflect.TypeOf(o), gvk, path, seen)...)
	}
	scale := fieldBombs(reflect.TypeFor[autoscalingv1.Scale](), autoscalingv1.SchemeGroupVersion.WithKind("Scale"), "/apis/apps/v1/namespaces/default/deployments/absent/scale", map[string]bool{})
	options := fieldBombs(reflect.TypeFor[metav1.DeleteOptions](), schema.GroupVersionKind{Version: "v1", Kind: "DeleteOptions"}, "/api/v1/namespaces/default/pods/absent", map[string]bool{})
	for _, b := range scale {
		b.method = http.MethodPut
		bombs = append(bombs, b)
	}
	for _, b := range options {
		b.method = http.MethodDelete
		bombs = append(bombs, b)
	}
	return bombs
}

func collection(k *kind.Kind) string {
	prefix := "/apis/" + k.GVK.GroupVersion().String()
	if k.GVK.Group == "" {
		prefix = "/api/v1"
	}
	if k.Namespaced {
		prefix += "/namespaces/default"
	}
	return prefix + "/" + k.Plural
}

// fieldBombs fill every list and map of a type.
func fieldBombs(t reflect.Type, gvk schema.GroupVersionKind, path string, seen map[string]bool) []bomb {
	var bombs []bomb
	for _, p := range allRepeated(t, nil, seen) {
		if p.steps[0].name == "status" {
			continue
		}
		add := func(what, contentType, body string) {
			bombs = append(bombs, bomb{name: gvk.Kind + " " + p.String() + ": " + what, method: http.MethodPost, path: path, contentType: contentType, body: body, often: 20})
		}
		add("as many as fit", jsonType, p.json(gvk, p.tinies(bodySize, 1<<30)))
		add("as many as fit, protobuf", protobufType, p.protobuf(gvk, nil, bodySize))
		add("as many as are allowed", jsonType, p.json(gvk, p.tinies(bodySize, p.allowed())))
		add("as many as are allowed, distinct", jsonType, p.json(gvk, p.distinct(bodySize, p.allowed())))
	}
	return bombs
}

func repeat(item string, n int) string {
	return strings.TrimSuffix(strings.Repeat(item+",", n), ",")
}
