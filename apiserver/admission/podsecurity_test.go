package admission

import (
	"context"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/warning"
)

// heard collects warnings.
type heard struct{ texts []string }

func (h *heard) AddWarning(_, text string) { h.texts = append(h.texts, text) }

func TestPodSecurity(t *testing.T) {
	w := newWorld(t, nil)
	for _, level := range []string{"enforce-baseline", "enforce-restricted", "warn-restricted"} {
		mode, standard, _ := strings.Cut(level, "-")
		w.store(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: level, Labels: map[string]string{"pod-security.kubernetes.io/" + mode: standard}}})
		w.store(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: level, Name: "default"}})
	}
	const privileged = "{spec: {containers: [{name: c, image: i, securityContext: {privileged: true}}]}}"
	for name, c := range map[string]struct {
		namespace, pod, want string
		warnings             int
	}{
		"no labels":       {"n", privileged, "", 0},
		"plain":           {"enforce-baseline", "{}", "", 0},
		"privileged":      {"enforce-baseline", privileged, `violates PodSecurity "baseline:latest": privileged (container "c" must not set securityContext.privileged=true)`, 0},
		"init container":  {"enforce-baseline", "{spec: {containers: [{name: c, image: i}], initContainers: [{name: j, image: i, securityContext: {privileged: true}}]}}", `container "j" must not set securityContext.privileged=true`, 0},
		"host network":    {"enforce-baseline", "{spec: {hostNetwork: true}}", "host namespaces (hostNetwork=true)", 0},
		"not restricted":  {"enforce-restricted", "{}", `violates PodSecurity "restricted:latest"`, 0},
		"only a warning":  {"warn-restricted", "{}", "", 1},
		"warn privileged": {"warn-restricted", privileged, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := parsePod(t, c.pod)
			p.Namespace = c.namespace
			h := &heard{}
			a := w.attributes(ask{obj: p})
			ctx := warning.WithWarningRecorder(t.Context(), h)
			err := w.chain.Admit(ctx, a, nil)
			if err == nil {
				err = w.chain.Validate(ctx, a, nil)
			}
			expect(t, name, err, c.want)
			if len(h.texts) != c.warnings {
				t.Errorf("warnings: %q", h.texts)
			}
		})
	}
}

func TestPodSecurityTemplates(t *testing.T) {
	w := newWorld(t, nil)
	w.store(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "b", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "baseline"}}})
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "b", Name: "d"}}
	d.Spec.Template.Spec = corev1.PodSpec{HostPID: true, Containers: []corev1.Container{{Name: "c", Image: "i"}}}
	h := &heard{}
	expect(t, "deployment", w.chain.Validate(warning.WithWarningRecorder(context.Background(), h), w.attributes(ask{obj: d}), nil), "")
	if !slices.Equal(h.texts, []string{`would violate PodSecurity "baseline:latest": host namespaces (hostPID=true)`}) {
		t.Errorf("warnings: %q", h.texts)
	}
}

func TestPodSecurityNamespaces(t *testing.T) {
	w := newWorld(t, nil)
	labelled := func(level string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"pod-security.kubernetes.io/enforce": level}}}
	}
	err := w.admit(ask{obj: labelled("strict")})
	if err == nil || !strings.Contains(err.Error(), `must be one of privileged, baseline, restricted`) {
		t.Errorf("unknown level: %v", err)
	}
	w.store(parsePod(t, "{spec: {serviceAccountName: default, hostNetwork: true}}"))
	h := &heard{}
	a := w.attributes(ask{operation: admission.Update, obj: labelled("baseline"), old: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}}})
	expect(t, "stricter", w.chain.Validate(warning.WithWarningRecorder(t.Context(), h), a, nil), "")
	if len(h.texts) != 2 || !strings.Contains(h.texts[0], `existing pods in namespace "n" violate the new PodSecurity enforce level "baseline:latest"`) {
		t.Errorf("warnings: %q", h.texts)
	}
}
