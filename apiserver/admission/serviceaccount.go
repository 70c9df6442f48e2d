package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apiserver/pkg/admission"

	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

const (
	defaultServiceAccount = "default"
	enforceSecrets        = "kubernetes.io/enforce-mountable-secrets"
	tokenVolumePrefix     = "kube-api-access-"
	tokenMountPath        = "/var/run/secrets/kubernetes.io/serviceaccount"
	tokenSeconds          = 60*60 + 7
	rootCAConfigMap       = "kube-root-ca.crt"
	// defaultAccountWait is how long a pod waits for the default service account of a namespace that is just made.
	defaultAccountWait = time.Second
	defaultAccountPoll = 10 * time.Millisecond
)

// serviceAccountPlugin gives pods their service account, its token and its pull secrets.
type serviceAccountPlugin struct {
	operations
	registry *registry.Registry
	accounts *registry.Resource
}

func newServiceAccount(o *Options) admission.Interface {
	return &serviceAccountPlugin{operations: onCreate | onUpdate, registry: o.Registry, accounts: reader{o.Registry}.resource("", "serviceaccounts")}
}

func (p *serviceAccountPlugin) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := podOf(a)
	if !ok || a.GetOperation() != admission.Create || a.GetSubresource() != "" {
		return nil
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return validateMirrorPod(a, pod)
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = defaultServiceAccount
	}
	pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
	account, err := p.account(ctx, a, pod.Spec.ServiceAccountName)
	if err != nil {
		return err
	}
	if mountsToken(account, pod) {
		mountToken(pod)
	}
	if len(pod.Spec.ImagePullSecrets) == 0 && len(account.ImagePullSecrets) > 0 {
		pod.Spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
	}
	return nil
}

func (p *serviceAccountPlugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := podOf(a)
	if !ok {
		return nil
	}
	switch {
	case a.GetOperation() == admission.Update && a.GetSubresource() != "ephemeralcontainers":
		return nil
	case a.GetOperation() == admission.Create && a.GetSubresource() != "":
		return nil
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		if a.GetOperation() == admission.Update {
			return nil
		}
		return validateMirrorPod(a, pod)
	}
	if pod.Spec.ServiceAccountName == "" {
		if a.GetOperation() == admission.Update {
			return nil
		}
		return admission.NewForbidden(a, fmt.Errorf("no service account specified for pod %s/%s", a.GetNamespace(), pod.Name))
	}
	account, err := p.account(ctx, a, pod.Spec.ServiceAccountName)
	if err != nil {
		return err
	}
	if !enforces(account) {
		return nil
	}
	if err := limitSecrets(account, pod, a.GetOperation() == admission.Update); err != nil {
		return admission.NewForbidden(a, err)
	}
	return nil
}

// account finds a service account. For the default one it waits a moment: a controller makes it after the namespace.
func (p *serviceAccountPlugin) account(ctx context.Context, a admission.Attributes, name string) (*corev1.ServiceAccount, error) {
	account, ok := await[*corev1.ServiceAccount](ctx, p.registry, p.accounts, a.GetNamespace(), name)
	if !ok && name == defaultServiceAccount {
		account, ok = p.awaitDefault(ctx, a.GetNamespace())
	}
	if !ok {
		missing := apierrors.NewNotFound(schema.GroupResource{Resource: "serviceaccount"}, name)
		return nil, admission.NewForbidden(a, fmt.Errorf("error looking up service account %s/%s: %w", a.GetNamespace(), name, missing))
	}
	return account, nil
}

func (p *serviceAccountPlugin) awaitDefault(ctx context.Context, namespace string) (*corev1.ServiceAccount, bool) {
	tick := time.NewTicker(defaultAccountPoll)
	defer tick.Stop()
	end := time.NewTimer(defaultAccountWait)
	defer end.Stop()
	for {
		select {
		case <-tick.C:
			if account, ok := peek[*corev1.ServiceAccount](p.accounts, namespace, defaultServiceAccount); ok {
				return account, true
			}
		case <-end.C:
			return nil, false
		case <-ctx.Done():
			return nil, false
		}
	}
}

// podOf is the pod of a request for pods.
func podOf(a admission.Attributes) (*corev1.Pod, bool) {
	if !is(a, "", "pods") {
		return nil, false
	}
	pod, ok := a.GetObject().(*corev1.Pod)
	return pod, ok && pod != nil
}

// validateMirrorPod: a mirror pod shows what a node runs by itself, and must not draw in what the node may not read.
func validateMirrorPod(a admission.Attributes, pod *corev1.Pod) error {
	if pod.Spec.ServiceAccountName != "" {
		return admission.NewForbidden(a, errors.New("a mirror pod may not reference service accounts"))
	}
	for range podspec.Secrets(pod) {
		return admission.NewForbidden(a, errors.New("a mirror pod may not reference secrets"))
	}
	for n := range pod.Spec.Volumes {
		projected := pod.Spec.Volumes[n].Projected
		if projected == nil {
			continue
		}
		for i := range projected.Sources {
			if projected.Sources[i].ServiceAccountToken != nil {
				return admission.NewForbidden(a, errors.New("a mirror pod may not use ServiceAccountToken volume projections"))
			}
		}
	}
	return nil
}

// mountsToken: the pod decides, else the service account, else yes.
func mountsToken(account *corev1.ServiceAccount, pod *corev1.Pod) bool {
	if pod.Spec.AutomountServiceAccountToken != nil {
		return *pod.Spec.AutomountServiceAccountToken
	}
	return account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken
}

// mountToken mounts a token into every container that has nothing mounted at its place.
func mountToken(pod *corev1.Pod) {
	name, exists := "", false
	for n := range pod.Spec.Volumes {
		if strings.HasPrefix(pod.Spec.Volumes[n].Name, tokenVolumePrefix) {
			name, exists = pod.Spec.Volumes[n].Name, true
			break
		}
	}
	if name == "" {
		name = tokenVolumePrefix + rand.String(5)
	}
	needed := false
	for c := range podspec.Containers(&pod.Spec) {
		taken := func(m corev1.VolumeMount) bool { return m.MountPath == tokenMountPath }
		if c.List == podspec.Ephemeral || slices.ContainsFunc(c.VolumeMounts, taken) {
			continue
		}
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: tokenMountPath})
		needed = true
	}
	if needed && !exists {
		pod.Spec.Volumes = append(pod.Spec.Volumes, tokenVolume(name))
	}
}

// tokenSources holds all parts of a token volume, so that they are allocated at once.
type tokenSources struct {
	source    corev1.ProjectedVolumeSource
	mode      int32
	seconds   int64
	sources   [3]corev1.VolumeProjection
	token     corev1.ServiceAccountTokenProjection
	configMap corev1.ConfigMapProjection
	keys      [1]corev1.KeyToPath
	downward  corev1.DownwardAPIProjection
	files     [1]corev1.DownwardAPIVolumeFile
	field     corev1.ObjectFieldSelector
}

// tokenVolume holds a token, the authority's certificate and the namespace's name.
func tokenVolume(name string) corev1.Volume {
	t := &tokenSources{mode: corev1.ProjectedVolumeSourceDefaultMode, seconds: tokenSeconds}
	t.token = corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &t.seconds}
	t.keys[0] = corev1.KeyToPath{Key: "ca.crt", Path: "ca.crt"}
	t.configMap = corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: rootCAConfigMap}, Items: t.keys[:]}
	t.field = corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}
	t.files[0] = corev1.DownwardAPIVolumeFile{Path: "namespace", FieldRef: &t.field}
	t.downward = corev1.DownwardAPIProjection{Items: t.files[:]}
	t.sources = [3]corev1.VolumeProjection{{ServiceAccountToken: &t.token}, {ConfigMap: &t.configMap}, {DownwardAPI: &t.downward}}
	t.source = corev1.ProjectedVolumeSource{DefaultMode: &t.mode, Sources: t.sources[:]}
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: &t.source}}
}

func enforces(account *corev1.ServiceAccount) bool {
	on, err := strconv.ParseBool(account.Annotations[enforceSecrets])
	return err == nil && on
}

// limitSecrets refuses a pod that refers to secrets which its service account does not name; only tells that
// nothing but the ephemeral containers has changed.
func limitSecrets(account *corev1.ServiceAccount, pod *corev1.Pod, onlyEphemeral bool) error {
	mountable, pull := map[string]bool{}, map[string]bool{}
	for _, s := range account.Secrets {
		mountable[s.Name] = true
	}
	for _, s := range account.ImagePullSecrets {
		pull[s.Name] = true
	}
	pulls := 0
	for r := range podspec.Secrets(pod) {
		if onlyEphemeral && (r.Container == nil || r.Container.List != podspec.Ephemeral) {
			continue
		}
		if r.Pull {
			if !pull[r.Name] {
				return fmt.Errorf("imagePullSecrets[%d].name=\"%s\" is not allowed because service account %s does not reference that imagePullSecret", pulls, r.Name, account.Name)
			}
			pulls++
			continue
		}
		if !mountable[r.Name] {
			return fmt.Errorf("%s secret.secretName=\"%s\" is not allowed because service account %s does not reference that secret", where(r), r.Name, account.Name)
		}
	}
	return nil
}

func where(r podspec.Reference) string {
	if r.Container == nil {
		return "volume with"
	}
	what := map[string]string{podspec.Main: "container", podspec.Init: "init container", podspec.Ephemeral: "ephemeral container"}[r.Container.List]
	if r.Variable == "" {
		return fmt.Sprintf("%s %s with envFrom referencing", what, r.Container.Name)
	}
	return fmt.Sprintf("%s %s with envVar %s referencing", what, r.Container.Name, r.Variable)
}
