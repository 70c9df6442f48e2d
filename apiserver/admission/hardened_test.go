package admission

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// write makes a file of a temporary folder.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAlwaysPullImages(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Enable = []string{"AlwaysPullImages"} })
	text := "spec: {serviceAccountName: default, initContainers: [{name: i, image: a, imagePullPolicy: Never}], containers: [{name: c, image: b, imagePullPolicy: IfNotPresent}], volumes: [{name: v, image: {reference: d, pullPolicy: Never}}]}"
	pod := parsePod(t, text)
	expect(t, "create", w.admit(ask{obj: pod}), "")
	if pod.Spec.InitContainers[0].ImagePullPolicy != "Always" || pod.Spec.Containers[0].ImagePullPolicy != "Always" || pod.Spec.Volumes[0].Image.PullPolicy != "Always" {
		t.Errorf("policies: %v", pod.Spec)
	}
	// A pod from before stays as it is until it gets a new image, by whatever subresource.
	old := parsePod(t, text)
	same := kind.Copy(old)
	same.Labels = map[string]string{"a": "b"}
	expect(t, "label", w.admit(ask{operation: admission.Update, obj: same, old: old}), "")
	if same.Spec.Containers[0].ImagePullPolicy != "IfNotPresent" {
		t.Error("an update without a new image changed policies")
	}
	debugged := kind.Copy(old)
	debugged.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "e", Image: "new", ImagePullPolicy: "Never"}}}
	expect(t, "ephemeral", w.admit(ask{operation: admission.Update, obj: debugged, old: old, subresource: "ephemeralcontainers"}), "")
	if debugged.Spec.EphemeralContainers[0].ImagePullPolicy != "Always" {
		t.Error("an ephemeral container's image is not pulled")
	}
	late := parsePod(t, text) // what a later plugin makes of it
	expect(t, "validate", (&alwaysPullImages{}).Validate(t.Context(), w.attributes(ask{obj: late}), nil), `spec.initContainers[0].imagePullPolicy: Unsupported value: "Never"`)
}

func TestEventRateLimit(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "limits.yaml", `{apiVersion: eventratelimit.admission.k8s.io/v1alpha1, kind: Configuration, limits: [
		{type: Namespace, qps: 1, burst: 3, cacheSize: 10}, {type: User, qps: 1, burst: 5}, {type: SourceAndObject, qps: 1, burst: 2}, {type: Server, qps: 100, burst: 100}]}`)
	file := write(t, dir, "admission.yaml", "{apiVersion: apiserver.config.k8s.io/v1, kind: AdmissionConfiguration, plugins: [{name: EventRateLimit, path: limits.yaml}]}")
	configuration, err := ReadConfiguration(file)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1e9, 0)
	w := newWorld(t, func(o *Options) {
		o.Enable, o.Configuration, o.Now = []string{"EventRateLimit"}, configuration, func() time.Time { return now }
	})
	for _, ns := range []string{"a", "b", "c", "d"} {
		w.store(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
	}
	send := func(who, ns, about string) string {
		var e kind.Object = &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: ns}, InvolvedObject: corev1.ObjectReference{Namespace: ns, Name: about}}
		if about == "new" {
			e = &eventsv1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: ns}, Regarding: corev1.ObjectReference{Namespace: ns, Name: about}}
		}
		err := w.admit(ask{obj: e, user: &user.DefaultInfo{Name: who}})
		if err == nil {
			return "ok"
		}
		if !apierrors.IsTooManyRequests(err) {
			t.Errorf("%s %s %s: %v", who, ns, about, err)
		}
		_, limit, _ := strings.Cut(err.Error(), "limit reached on type ")
		return limit
	}
	for n, c := range []struct{ who, ns, about, want string }{
		{"u", "a", "x", "ok"}, {"u", "a", "x", "ok"}, {"u", "a", "x", "SourceAndObject for key ax"},
		{"u", "a", "y", "Namespace for key a"}, {"v", "a", "new", "Namespace for key a"},
		{"u", "b", "new", "ok"}, {"u", "b", "z", "User for key u"}, {"w", "b", "z", "ok"}, {"w", "c", "z", "ok"},
	} {
		if got := send(c.who, c.ns, c.about); got != c.want {
			t.Errorf("%d: %s, want %s", n, got, c.want)
		}
	}
	now = now.Add(2 * time.Second)
	if got := send("u", "a", "x"); got != "ok" {
		t.Errorf("two seconds later: %s", got)
	}
	expect(t, "other kinds", w.admit(ask{obj: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "c"}}}), "")
}

func TestConfigurations(t *testing.T) {
	dir := t.TempDir()
	limits := func(text string) string {
		return "{apiVersion: apiserver.config.k8s.io/v1, kind: AdmissionConfiguration, plugins: [{name: EventRateLimit, configuration: {apiVersion: eventratelimit.admission.k8s.io/v1alpha1, kind: Configuration, limits: [" + text + "]}}]}"
	}
	for n, c := range []struct{ text, want string }{
		{limits("{type: Server, qps: 1, burst: 1}"), ""},
		{limits(""), "must not be empty"},
		{limits("{type: Planet, qps: 1, burst: 1}"), `limits[0].type: Unsupported value: "Planet"`},
		{limits("{type: User, qps: 0, burst: 0, cacheSize: -1}"), "limits[0].cacheSize"},
		{limits("{type: User, qps: 1, burst: 1, colour: red}"), "colour"},
		{"{kind: Pod}", "must be an AdmissionConfiguration"},
		{"{", "--admission-control-config-file"},
		{"{apiVersion: apiserver.config.k8s.io/v1, kind: AdmissionConfiguration, plugins: [{name: ResourceQuota}]}", `"ResourceQuota" takes no configuration`},
		{"{apiVersion: apiserver.config.k8s.io/v1, kind: AdmissionConfiguration, plugins: [{name: EventRateLimit, path: gone.yaml}]}", "gone.yaml"},
		{"{apiVersion: apiserver.config.k8s.io/v1, kind: AdmissionConfiguration, plugins: [{name: PodSecurity, configuration: {apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, defaults: {enforce: odd}}}]}", "odd"},
	} {
		configuration, err := ReadConfiguration(write(t, dir, fmt.Sprint(n), c.text))
		if err == nil {
			// A mistake is found before anything starts.
			err = Check(Options{Enable: []string{"EventRateLimit"}, Hardened: strings.Contains(c.text, "PodSecurity"), Configuration: configuration})
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.text, err, c.want)
		}
	}
	if _, err := ReadConfiguration(filepath.Join(dir, "none")); err == nil {
		t.Error("a file that does not exist")
	}
}

// Hardened is what docs/security.md promises; a plugin can still be left out by name.
func TestHardened(t *testing.T) {
	plain := newWorld(t, nil)
	hard := newWorld(t, func(o *Options) { o.Hardened, o.Disable = true, []string{"AlwaysPullImages"} })
	for _, name := range hardenedPlugins {
		if slices.Contains(plain.chain.Names(), name) {
			t.Errorf("%s is on without being asked for", name)
		}
		if on := slices.Contains(hard.chain.Names(), name); on != (name != "AlwaysPullImages") {
			t.Errorf("%s: %v", name, on)
		}
	}
	privileged := func(ns string) *corev1.Pod {
		p := parsePod(t, "spec: {serviceAccountName: default, hostNetwork: true, containers: [{name: c, image: i}]}")
		p.Namespace = ns
		return p
	}
	for _, w := range []*world{plain, hard} {
		w.store(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system"}})
		w.store(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "default"}})
	}
	expect(t, "plain", plain.admit(ask{obj: privileged("n")}), "")
	expect(t, "hardened", hard.admit(ask{obj: privileged("n")}), `violates PodSecurity "baseline`)
	expect(t, "hardened, kube-system", hard.admit(ask{obj: privileged("kube-system")}), "")
	expect(t, "external address", hard.admit(ask{obj: &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s"}, Spec: corev1.ServiceSpec{ExternalIPs: []string{"1.2.3.4"}}}}), "external IPs is denied")
}
