package admission

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	imagepolicyv1alpha1 "k8s.io/api/imagepolicy/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// enabled is a world with plugins that are off by default; configuration is that of the one that has any.
func enabled(t *testing.T, plugin, configuration string, more ...string) *world {
	t.Helper()
	return newWorld(t, func(o *Options) {
		o.Enable = append(more, plugin)
		if configuration != "" {
			o.Configuration = &Configuration{plugins: map[string][]byte{plugin: []byte(configuration)}}
		}
	})
}

// code is an error's.
func code(err error) int32 {
	if status, ok := err.(*apierrors.StatusError); ok {
		return status.ErrStatus.Code
	}
	return 0
}

func (w *world) namespace(name string, annotations map[string]string) {
	w.store(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}})
	w.store(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "default"}})
}

func podIn(t *testing.T, namespace, text string) *corev1.Pod {
	p := parsePod(t, text)
	p.Namespace = namespace
	return p
}

func TestAlways(t *testing.T) {
	expect(t, "AlwaysAdmit", enabled(t, "AlwaysAdmit", "").admit(ask{obj: parsePod(t, "")}), "")
	w := enabled(t, "AlwaysDeny", "")
	for _, op := range []admission.Operation{admission.Create, admission.Update, admission.Delete} {
		expect(t, string(op), w.admit(ask{operation: op, obj: parsePod(t, "{spec: {serviceAccountName: default}}"), old: parsePod(t, "")}), "denying all modifications")
	}
}

func TestNamespaceExists(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Enable, o.Disable = []string{"NamespaceExists"}, []string{"NamespaceLifecycle", "ServiceAccount"}
	})
	expect(t, "there", w.admit(ask{obj: parsePod(t, "")}), "")
	for _, op := range []admission.Operation{admission.Create, admission.Update, admission.Delete} {
		gone := podIn(t, "gone", "")
		expect(t, string(op), w.admit(ask{operation: op, obj: gone, old: gone}), `404 namespaces "gone" not found`)
	}
	expect(t, "none", w.admit(ask{obj: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n9"}}}), "")
	expect(t, "itself", w.admit(ask{obj: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "new"}}}), "")
}

func TestNamespaceAutoProvision(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Enable = []string{"NamespaceAutoProvision"} })
	config := func(namespace string) kind.Object {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "c"}}
	}
	// NamespaceLifecycle, which follows, finds it.
	expect(t, "a new one", w.admit(ask{obj: config("fresh")}), "")
	made, ok := peek[*corev1.Namespace](reader{w.registry}.resource("", "namespaces"), "", "fresh")
	if !ok || made.Labels["kubernetes.io/metadata.name"] != "fresh" || len(made.Spec.Finalizers) == 0 {
		t.Errorf("the namespace is %v", made)
	}
	expect(t, "again", w.admit(ask{obj: config("fresh")}), "")
	expect(t, "no name of a namespace", w.admit(ask{obj: config("A_B")}), "A_B")
	a := w.attributes(ask{obj: config("dry")})
	dry := admission.NewAttributesRecord(a.GetObject(), nil, a.GetKind(), "dry", "c", a.GetResource(), "", admission.Create, nil, true, a.GetUserInfo())
	expect(t, "a dry run", w.chain.Admit(t.Context(), dry, nil), `404 namespaces "dry" not found`)
	expect(t, "an update", w.admit(ask{operation: admission.Update, obj: config("other"), old: config("other")}), "")
	if _, ok := peek[*corev1.Namespace](reader{w.registry}.resource("", "namespaces"), "", "other"); ok {
		t.Error("an update makes a namespace")
	}
}

func TestAntiAffinity(t *testing.T) {
	w := enabled(t, "LimitPodHardAntiAffinityTopology", "")
	const format = "{spec: {serviceAccountName: default, affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: %s}]}}}}"
	expect(t, "node", w.admit(ask{obj: parsePod(t, fmt.Sprintf(format, "kubernetes.io/hostname"))}), "")
	expect(t, "zone", w.admit(ask{obj: parsePod(t, fmt.Sprintf(format, "topology.kubernetes.io/zone"))}), "has TopologyKey topology.kubernetes.io/zone but only key")
	expect(t, "none", w.admit(ask{obj: parsePod(t, "{spec: {serviceAccountName: default, affinity: {}}}")}), "")
}

func TestPodNodeSelector(t *testing.T) {
	w := enabled(t, "PodNodeSelector", "podNodeSelectorPluginConfig: {clusterDefaultNodeSelector: zone=a, strict: 'zone=a,disk=ssd'}")
	w.namespace("own", map[string]string{nodeSelectorAnnotation: "zone=b,x=y"})
	w.namespace("none", map[string]string{nodeSelectorAnnotation: ""})
	w.namespace("strict", nil)
	w.namespace("broken", map[string]string{nodeSelectorAnnotation: "zone in (a)"})
	for name, c := range map[string]struct{ namespace, pod, want, selector string }{
		"default":  {"n", "{}", "", "map[zone:a]"},
		"more":     {"n", "{nodeSelector: {disk: ssd}}", "", "map[disk:ssd zone:a]"},
		"conflict": {"n", "{nodeSelector: {zone: b}}", "conflicts with its namespace node label selector", ""},
		"own":      {"own", "{}", "", "map[x:y zone:b]"},
		"none":     {"none", "{}", "", "map[]"},
		"strict":   {"strict", "{nodeSelector: {disk: ssd}}", "", "map[disk:ssd zone:a]"},
		"stricter": {"strict", "{nodeSelector: {disk: hdd}}", "conflict with its namespace whitelist", ""},
		"unheard":  {"strict", "{nodeSelector: {a: b}}", "conflict with its namespace whitelist", ""},
		"gone":     {"gone", "{}", `404 namespaces "gone" not found`, ""},
	} {
		pod := podIn(t, c.namespace, "{spec: "+c.pod+"}")
		expect(t, name, w.admit(ask{obj: pod}), c.want)
		if got := fmt.Sprint(pod.Spec.NodeSelector); c.want == "" && got != c.selector {
			t.Errorf("%s: selector %s", name, got)
		}
	}
	if err := w.admit(ask{obj: podIn(t, "broken", "")}); code(err) != 500 || !strings.Contains(err.Error(), "namespace broken") {
		t.Errorf("an annotation that is no selector: %v", err)
	}
	if err := Check(Options{Enable: []string{"PodNodeSelector"}, Configuration: &Configuration{plugins: map[string][]byte{"PodNodeSelector": []byte("podNodeSelectorPluginConfig: {a: '==='}")}}}); err == nil {
		t.Error("a configuration that is no selector is accepted")
	}
}

func TestPodTolerationRestriction(t *testing.T) {
	const config = `{apiVersion: podtolerationrestriction.admission.k8s.io/v1alpha1, kind: Configuration,
		default: [{key: d, operator: Exists}], whitelist: [{key: d, operator: Exists}, {key: e, operator: Equal, value: v}, {key: node.kubernetes.io/memory-pressure, operator: Exists}]}`
	// DefaultTolerationSeconds comes before and would add two more.
	w := newWorld(t, func(o *Options) {
		o.Enable, o.Disable = []string{"PodTolerationRestriction"}, []string{"DefaultTolerationSeconds"}
		o.Configuration = &Configuration{plugins: map[string][]byte{"PodTolerationRestriction": []byte(config)}}
	})
	w.namespace("own", map[string]string{defaultTolerationsAnnotation: `[{"key":"o","operator":"Equal","value":"1"}]`, allowedTolerationsAnnotation: `[{"operator":"Exists"}]`})
	w.namespace("empty", map[string]string{defaultTolerationsAnnotation: "", allowedTolerationsAnnotation: ""})
	w.namespace("broken", map[string]string{defaultTolerationsAnnotation: "{"})
	w.namespace("unclear", map[string]string{allowedTolerationsAnnotation: `{"key":"a"}`})
	keys := func(p *corev1.Pod) string {
		var out []string
		for _, t := range p.Spec.Tolerations {
			out = append(out, t.Key+t.Value)
		}
		return strings.Join(out, " ")
	}
	const compute = "containers: [{name: c, image: i, resources: {requests: {cpu: 1}}}]"
	for name, c := range map[string]struct {
		namespace, pod string
		code           int32
		want           string
	}{
		"default":     {"n", "{}", 0, "d"},
		"equal":       {"n", "{tolerations: [{key: e, operator: Equal, value: v}]}", 0, "ev d"},
		"covered":     {"n", "{tolerations: [{key: d, operator: Equal, value: x}]}", 0, "d"},
		"not allowed": {"n", "{tolerations: [{key: f, operator: Exists}]}", 500, ""},
		"other value": {"n", "{tolerations: [{key: e, operator: Equal, value: w}]}", 500, ""},
		"memory":      {"n", "{" + compute + "}", 0, "d node.kubernetes.io/memory-pressure"},
		"own":         {"own", "{tolerations: [{key: f, operator: Exists}]}", 0, "f o1"},
		"empty":       {"empty", "{tolerations: [{key: f, operator: Exists}]}", 0, "f"},
		"broken":      {"broken", "{}", 500, ""},
		"unclear":     {"unclear", "{tolerations: [{key: d, operator: Exists}]}", 500, ""},
		"gone":        {"gone", "{}", 404, ""},
	} {
		pod := podIn(t, c.namespace, "{spec: "+c.pod+"}")
		err := w.admit(ask{obj: pod})
		if code(err) != c.code || c.code == 0 && (err != nil || keys(pod) != c.want) {
			t.Errorf("%s: %v, tolerations %s", name, err, keys(pod))
		}
	}
	many := parsePod(t, "")
	for n := range tolerationsMax + 1 {
		many.Spec.Tolerations = append(many.Spec.Tolerations, corev1.Toleration{Key: fmt.Sprint("k", n), Operator: "Exists"})
	}
	expect(t, "too many to compare", w.admit(ask{obj: many}), "1002 tolerations")
	for name, text := range map[string]string{"version": "{apiVersion: v1, kind: Configuration}", "member": "{apiVersion: " + tolerationsVersion + ", kind: Configuration, x: 1}",
		"operator": "{apiVersion: " + tolerationsVersion + ", kind: Configuration, default: [{key: a, operator: X}]}"} {
		if err := Check(Options{Enable: []string{"PodTolerationRestriction"}, Configuration: &Configuration{plugins: map[string][]byte{"PodTolerationRestriction": []byte(text)}}}); err == nil {
			t.Errorf("a configuration with another %s is accepted", name)
		}
	}
}

func TestCovers(t *testing.T) {
	seconds := func(n int64) *int64 { return &n }
	for name, c := range map[string]struct {
		t, u corev1.Toleration
		want bool
	}{
		"same":     {corev1.Toleration{Key: "a"}, corev1.Toleration{Key: "a"}, true},
		"all":      {corev1.Toleration{Operator: "Exists"}, corev1.Toleration{Key: "a", Value: "b", Operator: "Equal", Effect: "NoExecute"}, true},
		"effect":   {corev1.Toleration{Key: "a", Operator: "Exists", Effect: "NoSchedule"}, corev1.Toleration{Key: "a", Operator: "Exists"}, false},
		"longer":   {corev1.Toleration{Key: "a", Operator: "Exists", Effect: "NoExecute", TolerationSeconds: seconds(5)}, corev1.Toleration{Key: "a", Operator: "Exists", Effect: "NoExecute", TolerationSeconds: seconds(6)}, false},
		"shorter":  {corev1.Toleration{Key: "a", Operator: "Exists", Effect: "NoExecute", TolerationSeconds: seconds(5)}, corev1.Toleration{Key: "a", Operator: "Exists", Effect: "NoExecute", TolerationSeconds: seconds(4)}, true},
		"for ever": {corev1.Toleration{Key: "a", Operator: "Exists", Effect: "NoExecute", TolerationSeconds: seconds(5)}, corev1.Toleration{Key: "a", Operator: "Exists", Effect: "NoExecute"}, false},
		"any":      {corev1.Toleration{Key: "a", Operator: "Equal", Value: "b"}, corev1.Toleration{Key: "a", Operator: "Exists"}, false},
		"odd":      {corev1.Toleration{Key: "a", Operator: "Lt", Value: "5"}, corev1.Toleration{Key: "a", Operator: "Equal", Value: "5"}, false},
	} {
		if covers(&c.t, &c.u) != c.want {
			t.Errorf("%s: %v", name, !c.want)
		}
	}
}

func TestExtendedResourceToleration(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Enable, o.Disable = []string{"ExtendedResourceToleration"}, []string{"DefaultTolerationSeconds"}
	})
	pod := parsePod(t, `{spec: {tolerations: [{key: a.com/x, operator: Exists, effect: NoSchedule}], initContainers: [{name: i, image: i, resources: {requests: {c.com/z: 1}}}],
		containers: [{name: c, image: i, resources: {requests: {cpu: 1, a.com/x: 1, b.com/y: 1, kubernetes.io/k: 1, hugepages-2Mi: 1}}}]}}`)
	expect(t, "pod", w.admit(ask{obj: pod}), "")
	var keys []string
	for _, t := range pod.Spec.Tolerations {
		keys = append(keys, t.Key)
	}
	if got := strings.Join(keys, " "); got != "a.com/x b.com/y c.com/z" {
		t.Errorf("tolerations %s", got)
	}
}

// imageHook is a webhook that allows images that begin with "good"; down makes it fail.
func imageHook(t *testing.T) (kubeconfig string, asked *atomic.Int32, down *atomic.Bool) {
	t.Helper()
	asked, down = &atomic.Int32{}, &atomic.Bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if down.Load() {
			http.Error(w, "no", http.StatusTeapot)
			return
		}
		var review imagepolicyv1alpha1.ImageReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.Status.Allowed = true
		for _, c := range review.Spec.Containers {
			if !strings.HasPrefix(c.Image, "good") {
				review.Status.Allowed, review.Status.Reason = false, "bad "+c.Image+review.Spec.Annotations["x.image-policy.k8s.io/ticket"]+review.Spec.Annotations["other"]
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(server.Close)
	return write(t, t.TempDir(), "hook", `{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: "`+server.URL+`"}}], users: [], contexts: [{name: c, context: {cluster: c}}]}`), asked, down
}

func TestImagePolicyWebhook(t *testing.T) {
	kubeconfig, asked, down := imageHook(t)
	with := func(more string) *world {
		return enabled(t, "ImagePolicyWebhook", "imagePolicy: {kubeConfigFile: "+kubeconfig+", retryBackoff: 1"+more+"}")
	}
	w := with("")
	image := func(name string) *corev1.Pod {
		p := parsePod(t, "{spec: {serviceAccountName: default, containers: [{name: c, image: "+name+"}]}}")
		p.Annotations = map[string]string{"x.image-policy.k8s.io/ticket": " with ticket", "other": " not told"}
		return p
	}
	expect(t, "good", w.admit(ask{obj: image("good:1")}), "")
	expect(t, "good again", w.admit(ask{obj: image("good:1")}), "")
	if n := asked.Load(); n != 1 {
		t.Errorf("the webhook was asked %d times for the same", n)
	}
	expect(t, "bad", w.admit(ask{obj: image("bad:1")}), "denied one or more images: bad bad:1 with ticket")
	debugged := image("bad:1")
	debugged.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "e", Image: "good:2"}}}
	expect(t, "what is added", w.admit(ask{operation: admission.Update, obj: debugged, old: image("bad:1"), subresource: "ephemeralcontainers"}), "")
	expect(t, "its status", w.admit(ask{operation: admission.Update, obj: image("bad:1"), old: image("bad:1"), subresource: "status"}), "")

	down.Store(true)
	expect(t, "no answer", w.admit(ask{obj: image("good:3")}), "pods")
	open := image("good:3")
	expect(t, "no answer, open", with(", defaultAllow: true").admit(ask{obj: open}), "")
	if open.Annotations[imagePolicyOpen] != "true" {
		t.Error("the pod does not tell that nobody judged it")
	}
	for name, text := range map[string]string{"no kubeconfig": "imagePolicy: {}", "long": "imagePolicy: {kubeConfigFile: x, allowTTL: 1801}", "negative": "imagePolicy: {kubeConfigFile: x, retryBackoff: -2}"} {
		if _, err := imagePolicyOf(&Options{Configuration: &Configuration{plugins: map[string][]byte{"ImagePolicyWebhook": []byte(text)}}}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
