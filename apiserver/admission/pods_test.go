package admission

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/yaml"
)

func TestServiceAccount(t *testing.T) {
	no := false
	w := newWorld(t, nil)
	w.store(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "quiet"}, AutomountServiceAccountToken: &no,
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}}})
	for name, c := range map[string]struct {
		pod     string
		account string
		mounted string // containers that have the token
		volumes int
	}{
		"default":           {"", "default", "c", 1},
		"two and init":      {"spec: {initContainers: [{name: i, image: i}], containers: [{name: c, image: i}, {name: d, image: i}]}", "default", "i c d", 1},
		"own mount":         {"spec: {containers: [{name: c, image: i, volumeMounts: [{name: x, mountPath: /var/run/secrets/kubernetes.io/serviceaccount}]}], volumes: [{name: x, emptyDir: {}}]}", "default", "c", 1},
		"one own mount":     {"spec: {containers: [{name: c, image: i, volumeMounts: [{name: x, mountPath: /var/run/secrets/kubernetes.io/serviceaccount}]}, {name: d, image: i}], volumes: [{name: x, emptyDir: {}}]}", "default", "c d", 2},
		"pod wants none":    {"spec: {automountServiceAccountToken: false}", "default", "", 0},
		"account wants not": {"spec: {serviceAccountName: quiet}", "quiet", "", 0},
		"pod insists":       {"spec: {serviceAccountName: quiet, automountServiceAccountToken: true}", "quiet", "c", 1},
		"volume is there":   {"spec: {volumes: [{name: kube-api-access-abcde, emptyDir: {}}]}", "default", "c", 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := parsePod(t, c.pod)
			expect(t, name, w.admit(ask{obj: p}), "")
			if p.Spec.ServiceAccountName != c.account || p.Spec.DeprecatedServiceAccount != c.account {
				t.Errorf("account: %q", p.Spec.ServiceAccountName)
			}
			var mounted []string
			for _, container := range append(append([]corev1.Container{}, p.Spec.InitContainers...), p.Spec.Containers...) {
				for _, m := range container.VolumeMounts {
					if m.MountPath == tokenMountPath {
						mounted = append(mounted, container.Name)
					}
				}
			}
			if strings.Join(mounted, " ") != c.mounted || len(p.Spec.Volumes) != c.volumes {
				t.Errorf("mounted in %v, %d volumes", mounted, len(p.Spec.Volumes))
			}
			if c.account == "quiet" && (len(p.Spec.ImagePullSecrets) != 1 || p.Spec.ImagePullSecrets[0].Name != "pull") {
				t.Errorf("pull secrets: %v", p.Spec.ImagePullSecrets)
			}
		})
	}
}

func TestServiceAccountVolume(t *testing.T) {
	w := newWorld(t, nil)
	p := parsePod(t, "")
	expect(t, "create", w.admit(ask{obj: p}), "")
	v := p.Spec.Volumes[0]
	if !strings.HasPrefix(v.Name, "kube-api-access-") || len(v.Name) != len("kube-api-access-")+5 || v.Name != p.Spec.Containers[0].VolumeMounts[0].Name || !p.Spec.Containers[0].VolumeMounts[0].ReadOnly {
		t.Errorf("volume %q, mounts %v", v.Name, p.Spec.Containers[0].VolumeMounts)
	}
	data, err := yaml.Marshal(v.Projected)
	if err != nil {
		t.Fatal(err)
	}
	want := `defaultMode: 420
sources:
- serviceAccountToken:
    expirationSeconds: 3607
    path: token
- configMap:
    items:
    - key: ca.crt
      path: ca.crt
    name: kube-root-ca.crt
- downwardAPI:
    items:
    - fieldRef:
        apiVersion: v1
        fieldPath: metadata.namespace
      path: namespace
`
	if string(data) != want {
		t.Errorf("projected:\n%s", data)
	}
}

func TestServiceAccountRefuses(t *testing.T) {
	w := newWorld(t, nil)
	w.store(&corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "strict", Annotations: map[string]string{"kubernetes.io/enforce-mountable-secrets": "true"}},
		Secrets:    []corev1.ObjectReference{{Name: "good"}}, ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}},
	})
	const mirror = "metadata: {annotations: {kubernetes.io/config.mirror: x}}\n"
	for name, c := range map[string]struct{ pod, want string }{
		"missing":          {"spec: {serviceAccountName: nope}", `error looking up service account n/nope: serviceaccount "nope" not found`},
		"good secret":      {"spec: {serviceAccountName: strict, volumes: [{name: v, secret: {secretName: good}}]}", ""},
		"bad volume":       {"spec: {serviceAccountName: strict, volumes: [{name: v, secret: {secretName: bad}}]}", `volume with secret.secretName="bad" is not allowed because service account strict does not reference that secret`},
		"bad projection":   {"spec: {serviceAccountName: strict, volumes: [{name: v, projected: {sources: [{secret: {name: bad}}]}}]}", `secret.secretName="bad" is not allowed`},
		"bad variable":     {"spec: {serviceAccountName: strict, containers: [{name: c, image: i, env: [{name: E, valueFrom: {secretKeyRef: {name: bad, key: k}}}]}]}", `container c with envVar E referencing secret.secretName="bad" is not allowed`},
		"bad environment":  {"spec: {serviceAccountName: strict, initContainers: [{name: j, image: i, envFrom: [{secretRef: {name: bad}}]}]}", `init container j with envFrom referencing secret.secretName="bad" is not allowed`},
		"bad pull secret":  {"spec: {serviceAccountName: strict, imagePullSecrets: [{name: pull}, {name: bad}]}", `imagePullSecrets[1].name="bad" is not allowed because service account strict does not reference that imagePullSecret`},
		"mirror":           {mirror, ""},
		"mirror account":   {mirror + "spec: {serviceAccountName: default}", "a mirror pod may not reference service accounts"},
		"mirror secret":    {mirror + "spec: {containers: [{name: c, image: i, envFrom: [{secretRef: {name: good}}]}]}", "a mirror pod may not reference secrets"},
		"mirror and token": {mirror + "spec: {volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t}}]}}]}", "a mirror pod may not use ServiceAccountToken volume projections"},
	} {
		t.Run(name, func(t *testing.T) { expect(t, name, w.admit(ask{obj: parsePod(t, c.pod)}), c.want) })
	}
	old := parsePod(t, "spec: {serviceAccountName: strict}")
	p := old.DeepCopy()
	p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Name: "e", EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "bad"}}}},
	}}}
	expect(t, "ephemeral", w.admit(ask{operation: admission.Update, obj: p, old: old, subresource: "ephemeralcontainers"}), `ephemeral container e with envFrom referencing`)
	expect(t, "update", w.admit(ask{operation: admission.Update, obj: p, old: old}), "")
}

// TestServiceAccountWaits: the default service account of a new namespace is made a moment after it.
func TestServiceAccountWaits(t *testing.T) {
	w := newWorld(t, nil)
	w.store(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "new"}})
	p := parsePod(t, "metadata: {namespace: new}")
	done := make(chan error, 1)
	go func() { done <- w.chain.Admit(t.Context(), w.attributes(ask{obj: p}), nil) }()
	w.store(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "new", Name: "default"}})
	expect(t, "create", <-done, "")
	if p.Spec.ServiceAccountName != "default" {
		t.Errorf("account: %q", p.Spec.ServiceAccountName)
	}
}

func TestLimitRanger(t *testing.T) {
	for name, c := range map[string]struct {
		limits, pod string
		want        string // refusal
		resources   string // of the pod's containers afterwards
		annotation  string
	}{
		"defaults": {
			"[{type: Container, default: {cpu: 1, memory: 1Gi}, defaultRequest: {cpu: 200m}}]", "", "",
			"limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 200m, memory: 1Gi}",
			"LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c",
		},
		"what is given stays": {
			"[{type: Container, default: {cpu: 1}, defaultRequest: {cpu: 200m}}]", "spec: {containers: [{name: c, image: i, resources: {limits: {cpu: 2}, requests: {cpu: 100m}}}]}", "",
			"limits: {cpu: 2}, requests: {cpu: 100m}", "",
		},
		"init containers too": {
			"[{type: Container, default: {cpu: 1}, defaultRequest: {cpu: 200m}}]", "spec: {containers: [{name: c, image: i, resources: {limits: {cpu: 2}, requests: {cpu: 2}}}], initContainers: [{name: j, image: i}]}", "",
			"limits: {cpu: 2}, requests: {cpu: 2}", "LimitRanger plugin set: cpu request for init container j; cpu limit for init container j",
		},
		"below": {"[{type: Container, min: {cpu: 500m}}]", "spec: {containers: [{name: c, image: i, resources: {requests: {cpu: 100m}, limits: {cpu: 1}}}]}",
			"minimum cpu usage per Container is 500m, but request is 100m", "", ""},
		"no request": {"[{type: Pod, min: {memory: 1Gi}}]", "", "minimum memory usage per Pod is 1Gi.  No request is specified", "", ""},
		"above":      {"[{type: Container, max: {cpu: 1}}]", "spec: {containers: [{name: c, image: i, resources: {limits: {cpu: 1500m}}}]}", "maximum cpu usage per Container is 1, but limit is 1500m", "", ""},
		"no limit":   {"[{type: Pod, max: {memory: 1Gi}}]", "", "maximum memory usage per Pod is 1Gi.  No limit is specified", "", ""},
		"sum of pod": {"[{type: Pod, max: {cpu: 1}}]", "spec: {containers: [{name: c, image: i, resources: {limits: {cpu: 600m}}}, {name: d, image: i, resources: {limits: {cpu: 600m}}}]}",
			"maximum cpu usage per Pod is 1, but limit is 1200m", "", ""},
		"ratio": {"[{type: Container, maxLimitRequestRatio: {cpu: 2}}]", "spec: {containers: [{name: c, image: i, resources: {limits: {cpu: 900m}, requests: {cpu: 300m}}}]}",
			"cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000", "", ""},
		"ratio kept": {"[{type: Container, maxLimitRequestRatio: {cpu: 3}}]", "spec: {containers: [{name: c, image: i, resources: {limits: {cpu: 900m}, requests: {cpu: 300m}}}]}", "",
			"limits: {cpu: 900m}, requests: {cpu: 300m}", ""},
		"ratio without request": {"[{type: Pod, maxLimitRequestRatio: {cpu: 2}}]", "", "but no request is specified or request is 0", "", ""},
		"several":               {"[{type: Pod, max: {cpu: 1, memory: 1Gi}}]", "", "[maximum cpu usage per Pod is 1.  No limit is specified, maximum memory usage per Pod is 1Gi.  No limit is specified]", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			r := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "l"}}
			if err := yaml.UnmarshalStrict([]byte("spec: {limits: "+c.limits+"}"), r); err != nil {
				t.Fatal(err)
			}
			w.store(r)
			p := parsePod(t, c.pod)
			err := w.admit(ask{obj: p})
			expect(t, name, err, c.want)
			if c.want != "" {
				return
			}
			var wanted corev1.ResourceRequirements
			if err := yaml.UnmarshalStrict([]byte("{"+c.resources+"}"), &wanted); err != nil {
				t.Fatal(err)
			}
			have, _ := yaml.Marshal(p.Spec.Containers[0].Resources)
			want, _ := yaml.Marshal(wanted)
			if string(have) != string(want) {
				t.Errorf("resources\n%swant\n%s", have, want)
			}
			if got := p.Annotations[limitRangerAnnotation]; got != c.annotation {
				t.Errorf("annotation: %q", got)
			}
			old := parsePod(t, c.pod)
			expect(t, "update", w.admit(ask{operation: admission.Update, obj: parsePod(t, c.pod), old: old}), "")
		})
	}
}

func TestLimitRangerClaims(t *testing.T) {
	r := &corev1.LimitRange{}
	if err := yaml.UnmarshalStrict([]byte("spec: {limits: [{type: PersistentVolumeClaim, min: {storage: 1Gi}, max: {storage: 2Gi}}]}"), r); err != nil {
		t.Fatal(err)
	}
	for size, want := range map[string]string{
		"{storage: 1Gi}":   "",
		"{storage: 512Mi}": "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 512Mi",
		"{storage: 3Gi}":   "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi",
	} {
		claim := &corev1.PersistentVolumeClaim{}
		if err := yaml.UnmarshalStrict([]byte("spec: {resources: {requests: "+size+"}}"), claim); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, problem := range claimProblems(claim, r) {
			got += problem.Error()
		}
		if got != want {
			t.Errorf("%s: %q", size, got)
		}
	}
}

func TestRoleEscalationIsInTheChain(t *testing.T) {
	w := newWorld(t, nil)
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}}}
	expect(t, "anybody", w.admit(ask{obj: role, user: &user.DefaultInfo{Name: "u"}}), "is attempting to grant RBAC permissions not currently held")
	expect(t, "master", w.admit(ask{obj: role}), "")
}

func TestRuntimeClass(t *testing.T) {
	w := newWorld(t, nil)
	for name, c := range map[string]struct{ pod, problem string }{
		"no class": {"", ""},
		"a class":  {"spec: {runtimeClassName: gvisor}", `RuntimeClass "gvisor" not found`},
		"overhead": {"spec: {overhead: {cpu: 1}}", "Pod Overhead set without"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, name, w.admit(ask{obj: parsePod(t, c.pod)}), c.problem)
		})
	}
}
