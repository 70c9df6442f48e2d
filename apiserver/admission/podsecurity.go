package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/component-base/metrics/legacyregistry"
	podsecurity "k8s.io/pod-security-admission/admission"
	podsecurityconfig "k8s.io/pod-security-admission/admission/api"
	podsecurityload "k8s.io/pod-security-admission/admission/api/load"
	podsecurityvalidation "k8s.io/pod-security-admission/admission/api/validation"
	podsecurityapi "k8s.io/pod-security-admission/api"
	podsecuritymetrics "k8s.io/pod-security-admission/metrics"
	"k8s.io/pod-security-admission/policy"

	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

const podSecurityPrefix = "pod-security.kubernetes.io/"

// podSecurity holds pods to the Pod Security Standards that their namespace's labels name.
type podSecurity struct {
	operations
	namespaces *registry.Resource
	standards  *podsecurity.Admission
	// everywhere: namespaces without labels are held to a standard too.
	everywhere bool
}

// podSecurityConfiguration is the standard of namespaces without labels: upstream's default is none.
func podSecurityConfiguration(o *Options) (*podsecurityconfig.PodSecurityConfiguration, error) {
	if config := o.configuration("PodSecurity"); config != nil {
		c, err := podsecurityload.LoadFromData(config)
		if err != nil {
			return nil, fmt.Errorf("configuration of PodSecurity: %w", err)
		}
		if err := podsecurityvalidation.ValidatePodSecurityConfiguration(c).ToAggregate(); err != nil {
			return nil, fmt.Errorf("configuration of PodSecurity: %w", err)
		}
		return c, nil
	}
	enforce, tell := string(podsecurityapi.LevelPrivileged), string(podsecurityapi.LevelPrivileged)
	c := &podsecurityconfig.PodSecurityConfiguration{}
	if o.Hardened {
		enforce, tell = string(podsecurityapi.LevelBaseline), string(podsecurityapi.LevelRestricted)
		// What makes nodes work (networks, volumes) runs here, and needs what others may not have.
		c.Exemptions.Namespaces = []string{metav1.NamespaceSystem}
	}
	latest := podsecurityapi.VersionLatest
	c.Defaults = podsecurityconfig.PodSecurityDefaults{Enforce: enforce, EnforceVersion: latest, Audit: tell, AuditVersion: latest, Warn: tell, WarnVersion: latest}
	return c, nil
}

// podSecurityMetrics are registered once in a process, which may run several masters.
var podSecurityMetrics = sync.OnceValue(func() *podsecuritymetrics.PrometheusRecorder {
	recorder := podsecuritymetrics.NewPrometheusRecorder(podsecurityapi.GetAPIVersion())
	recorder.MustRegister(legacyregistry.MustRegister)
	return recorder
})

func newPodSecurity(o *Options) (admission.Interface, error) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return nil, fmt.Errorf("PodSecurity: %w", err)
	}
	r := reader{o.Registry}
	p := &podSecurity{operations: onCreate | onUpdate, namespaces: r.resource("", "namespaces")}
	configuration, err := podSecurityConfiguration(o)
	if err != nil {
		return nil, err
	}
	d := &configuration.Defaults
	for _, level := range []string{d.Enforce, d.Audit, d.Warn} {
		p.everywhere = p.everywhere || level != string(podsecurityapi.LevelPrivileged)
	}
	p.standards = &podsecurity.Admission{
		Configuration: configuration,
		Evaluator:     evaluator, Metrics: podSecurityMetrics(), PodSpecExtractor: podsecurity.DefaultPodSpecExtractor{},
		NamespaceGetter: namespaceGetter{o.Registry, p.namespaces}, PodLister: podLister{r.resource("", "pods")},
	}
	if err := p.standards.CompleteConfiguration(); err != nil {
		return nil, fmt.Errorf("PodSecurity: %w", err)
	}
	if err := p.standards.ValidateConfiguration(); err != nil {
		return nil, fmt.Errorf("PodSecurity: %w", err)
	}
	return p, nil
}

func (p *podSecurity) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	gr := a.GetResource().GroupResource()
	isNamespace := is(a, "", "namespaces")
	if !isNamespace && !p.standards.PodSpecExtractor.HasPodSpec(gr) {
		return nil
	}
	// Namespaces without these labels allow everything: most pods go no further.
	if !isNamespace && !p.everywhere && !p.labelled(a.GetNamespace()) {
		return nil
	}
	result := p.standards.Validate(ctx, podSecurityAttributes{a})
	for _, w := range result.Warnings {
		warning.AddWarning(ctx, "", w)
	}
	for key, value := range result.AuditAnnotations {
		if err := a.AddAnnotation(podSecurityPrefix+key, value); err != nil {
			return apierrors.NewInternalError(err)
		}
	}
	if result.Allowed {
		return nil
	}
	refusal := admission.NewForbidden(a, errors.New("Not allowed by PodSecurity"))
	var status *apierrors.StatusError
	if result.Result == nil || !errors.As(refusal, &status) {
		return refusal
	}
	if result.Result.Message != "" {
		status.ErrStatus.Message = result.Result.Message
	}
	if result.Result.Reason != "" {
		status.ErrStatus.Reason = result.Result.Reason
	}
	if result.Result.Details != nil {
		status.ErrStatus.Details = result.Result.Details
	}
	if result.Result.Code != 0 {
		status.ErrStatus.Code = result.Result.Code
	}
	return status
}

// labelled tells whether a namespace names a standard. One that is not known yet is left to the library.
func (p *podSecurity) labelled(namespace string) bool {
	ns, ok := peek[*corev1.Namespace](p.namespaces, "", namespace)
	if !ok {
		return true
	}
	for key := range ns.Labels {
		if strings.HasPrefix(key, podSecurityPrefix) {
			return true
		}
	}
	return false
}

// podSecurityAttributes show a request as the library wants to see it.
type podSecurityAttributes struct{ admission.Attributes }

func (a podSecurityAttributes) GetObject() (runtime.Object, error) {
	return a.Attributes.GetObject(), nil
}

func (a podSecurityAttributes) GetOldObject() (runtime.Object, error) {
	return a.Attributes.GetOldObject(), nil
}

func (a podSecurityAttributes) GetOperation() admissionv1.Operation {
	return admissionv1.Operation(a.Attributes.GetOperation())
}

func (a podSecurityAttributes) GetUserName() string { return a.GetUserInfo().GetName() }

type namespaceGetter struct {
	registry   *registry.Registry
	namespaces *registry.Resource
}

func (g namespaceGetter) GetNamespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	ns, ok := await[*corev1.Namespace](ctx, g.registry, g.namespaces, "", name)
	if !ok {
		return nil, apierrors.NewNotFound(corev1.Resource("namespaces"), name)
	}
	return ns, nil
}

type podLister struct{ pods *registry.Resource }

func (l podLister) ListPods(_ context.Context, namespace string) ([]*corev1.Pod, error) {
	var list []*corev1.Pod
	for item := range l.pods.All(namespace) {
		if pod, ok := item.Object().(*corev1.Pod); ok {
			list = append(list, pod)
		}
	}
	return list, nil
}
