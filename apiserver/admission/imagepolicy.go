package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	imagepolicyv1alpha1 "k8s.io/api/imagepolicy/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

const (
	// imageReviewsMax is how many answers are remembered.
	imageReviewsMax = 1024
	// imagePolicyAudit begins the keys of what is noted in the audit log.
	imagePolicyAudit = "imagepolicywebhook.image-policy.k8s.io/"
	// imagePolicyAnnotations are those of a pod that the webhook is told: their domain ends with this.
	imagePolicyAnnotations = ".image-policy.k8s.io/"
	// imagePolicyOpen marks pods that nobody has judged.
	imagePolicyOpen = "alpha.image-policy.k8s.io/failed-open"
)

// imagePolicy asks a webhook whether a pod's images may run.
type imagePolicy struct {
	operations
	imagePolicySettings
	hook    *webhook.GenericWebhook
	answers *cache.LRUExpireCache
}

// imagePolicySettings are the plugin's configuration.
type imagePolicySettings struct {
	kubeconfig string
	// allowed and denied are how long answers are remembered; backoff is how long it waits before it asks once more.
	allowed, denied, backoff time.Duration
	// open lets pods pass if the webhook does not answer.
	open bool
}

// imagePolicyOf reads the plugin's configuration, as upstream's: times are numbers, -1 for none and 0 for what is usual.
func imagePolicyOf(o *Options) (s imagePolicySettings, err error) {
	text := o.configuration("ImagePolicyWebhook")
	if text == nil {
		return s, errors.New("ImagePolicyWebhook needs a configuration, which --admission-control-config-file names")
	}
	var file struct {
		ImagePolicy struct {
			KubeConfigFile string `json:"kubeConfigFile"`
			AllowTTL       int64  `json:"allowTTL"`
			DenyTTL        int64  `json:"denyTTL"`
			RetryBackoff   int64  `json:"retryBackoff"`
			DefaultAllow   bool   `json:"defaultAllow"`
		} `json:"imagePolicy"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return s, fmt.Errorf("configuration of ImagePolicyWebhook: %w", err)
	}
	c := file.ImagePolicy
	s.kubeconfig, s.open = c.KubeConfigFile, c.DefaultAllow
	for _, t := range []struct {
		name           string
		value          int64
		to             *time.Duration
		unit           time.Duration
		usual, longest time.Duration
	}{
		{"retryBackoff", c.RetryBackoff, &s.backoff, time.Millisecond, 500 * time.Millisecond, 5 * time.Minute},
		{"allowTTL", c.AllowTTL, &s.allowed, time.Second, 5 * time.Minute, 30 * time.Minute},
		{"denyTTL", c.DenyTTL, &s.denied, time.Second, 30 * time.Second, 30 * time.Minute},
	} {
		switch {
		case t.value == -1:
		case t.value == 0:
			*t.to = t.usual
		case t.value < 0 || t.value > int64(t.longest/t.unit):
			return s, fmt.Errorf("configuration of ImagePolicyWebhook: %s must be between %v and %v, or -1", t.name, t.unit, t.longest)
		default:
			*t.to = time.Duration(t.value) * t.unit
		}
	}
	if s.kubeconfig == "" {
		return s, errors.New("configuration of ImagePolicyWebhook: kubeConfigFile must name the kubeconfig of the webhook")
	}
	return s, nil
}

func newImagePolicy(o *Options) (admission.Interface, error) {
	settings, err := imagePolicyOf(o)
	if err != nil {
		return nil, err
	}
	config, err := webhook.LoadKubeconfig(settings.kubeconfig, nil)
	if err != nil {
		return nil, fmt.Errorf("ImagePolicyWebhook: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := imagepolicyv1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	hook, err := webhook.NewGenericWebhook(scheme, serializer.NewCodecFactory(scheme), config,
		[]schema.GroupVersion{imagepolicyv1alpha1.SchemeGroupVersion}, webhook.DefaultRetryBackoffWithInitialDelay(settings.backoff))
	if err != nil {
		return nil, fmt.Errorf("ImagePolicyWebhook: %w", err)
	}
	return &imagePolicy{onCreate | onUpdate, settings, hook, cache.NewLRUExpireCache(imageReviewsMax)}, nil
}

func (p *imagePolicy) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	sub := a.GetSubresource()
	if !is(a, "", "pods") || sub != "" && sub != "ephemeralcontainers" {
		return nil
	}
	pod, ok := podOf(a)
	if !ok {
		return apierrors.NewBadRequest("the request holds no pod")
	}
	review := &imagepolicyv1alpha1.ImageReview{Spec: imagepolicyv1alpha1.ImageReviewSpec{
		Containers: reviewed(pod, sub != ""), Annotations: map[string]string{}, Namespace: a.GetNamespace(),
	}}
	for key, value := range pod.Annotations {
		if strings.Contains(key, imagePolicyAnnotations) {
			review.Spec.Annotations[key] = value
		}
	}
	if err := p.ask(ctx, review); err != nil {
		if !p.open || ctx.Err() != nil {
			return admission.NewForbidden(a, err)
		}
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[imagePolicyOpen] = "true"
		note(a, "failed-open", "true")
		return nil
	}
	for key, value := range review.Status.AuditAnnotations {
		note(a, key, value)
	}
	switch {
	case review.Status.Allowed:
		return nil
	case review.Status.Reason != "":
		return admission.NewForbidden(a, fmt.Errorf("image policy webhook backend denied one or more images: %s", review.Status.Reason))
	}
	return admission.NewForbidden(a, errors.New("one or more images rejected by webhook backend"))
}

// note puts something into the audit log. What the webhook gives no valid name is left out: that is no reason to refuse a pod.
func note(a admission.Attributes, key, value string) {
	_ = a.AddAnnotation(imagePolicyAudit+key, value)
}

// reviewed are the images that a request brings.
func reviewed(pod *corev1.Pod, ephemeral bool) (out []imagepolicyv1alpha1.ImageReviewContainerSpec) {
	add := func(image string) { out = append(out, imagepolicyv1alpha1.ImageReviewContainerSpec{Image: image}) }
	if ephemeral {
		for n := range pod.Spec.EphemeralContainers {
			add(pod.Spec.EphemeralContainers[n].Image)
		}
		return out
	}
	for n := range pod.Spec.Containers {
		add(pod.Spec.Containers[n].Image)
	}
	for n := range pod.Spec.InitContainers {
		add(pod.Spec.InitContainers[n].Image)
	}
	return out
}

// ask fills in the review's status: what the webhook says, or said not long ago.
func (p *imagePolicy) ask(ctx context.Context, review *imagepolicyv1alpha1.ImageReview) error {
	key, err := json.Marshal(review.Spec)
	if err != nil {
		return err
	}
	if known, ok := p.answers.Get(string(key)); ok {
		if status, ok := known.(imagepolicyv1alpha1.ImageReviewStatus); ok {
			review.Status = status
			return nil
		}
	}
	result := p.hook.WithExponentialBackoff(ctx, func() rest.Result { return p.hook.RestClient.Post().Body(review).Do(ctx) })
	if err := result.Error(); err != nil {
		return err
	}
	var code int
	if result.StatusCode(&code); code < 200 || code >= 300 {
		return fmt.Errorf("error contacting webhook: %d", code)
	}
	if err := result.Into(review); err != nil {
		return err
	}
	lasts := p.denied
	if review.Status.Allowed {
		lasts = p.allowed
	}
	p.answers.Add(string(key), review.Status, lasts)
	return nil
}
