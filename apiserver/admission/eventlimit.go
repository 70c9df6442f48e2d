package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/lru"
	"sigs.k8s.io/yaml"
)

// limitType is what the events of one limit have in common.
type limitType string

const (
	limitServer          limitType = "Server"
	limitNamespace       limitType = "Namespace"
	limitUser            limitType = "User"
	limitSourceAndObject limitType = "SourceAndObject"
)

// eventLimitVersion of the plugin's configuration, which is upstream's.
const eventLimitVersion = "eventratelimit.admission.k8s.io/v1alpha1"

// eventLimits is the configuration of EventRateLimit.
type eventLimits struct {
	metav1.TypeMeta `json:",inline"`
	Limits          []eventLimit `json:"limits"`
}

// eventLimit gives each key of its type a bucket that holds Burst events and gets QPS more each second. CacheSize is how many buckets
// it keeps.
type eventLimit struct {
	Type      limitType `json:"type"`
	QPS       int32     `json:"qps"`
	Burst     int32     `json:"burst"`
	CacheSize int32     `json:"cacheSize,omitempty"`
}

// eventLimitCache is how many namespaces, users or objects a limit tells apart if the configuration does not say.
const eventLimitCache = 4096

// hardenedEventLimits keep strangers from filling the store with events, and leave the parts of the cluster alone, which write
// into many namespaces as one user.
var hardenedEventLimits = eventLimits{Limits: []eventLimit{
	{Type: limitNamespace, QPS: 50, Burst: 100},
	{Type: limitSourceAndObject, QPS: 10, Burst: 50},
}}

// eventRateLimit bounds how fast events are written.
type eventRateLimit struct {
	operations
	limits []*limiter
}

func eventLimitsOf(o *Options) (eventLimits, error) {
	switch config := o.configuration("EventRateLimit"); {
	case config != nil:
		limits, err := readEventLimits(config)
		if err != nil {
			return limits, fmt.Errorf("configuration of EventRateLimit: %w", err)
		}
		return limits, nil
	case o.Hardened:
		return hardenedEventLimits, nil
	}
	return eventLimits{}, errors.New("EventRateLimit has no limits: name a file with a Configuration of " + eventLimitVersion + " by --admission-control-config-file")
}

func newEventRateLimit(o *Options) (admission.Interface, error) {
	limits, err := eventLimitsOf(o)
	if err != nil {
		return nil, err
	}
	p := &eventRateLimit{operations: onCreate | onUpdate}
	for _, l := range limits.Limits {
		p.limits = append(p.limits, newLimiter(l, wallClock(o.Now)))
	}
	return p, nil
}

func readEventLimits(config []byte) (eventLimits, error) {
	var limits eventLimits
	if err := yaml.UnmarshalStrict(config, &limits); err != nil {
		return limits, err
	}
	if limits.Kind != "Configuration" || limits.APIVersion != eventLimitVersion {
		return limits, fmt.Errorf("it must be a Configuration of %s, not a %s of %s", eventLimitVersion, limits.Kind, limits.APIVersion)
	}
	return limits, limits.check().ToAggregate()
}

func (l *eventLimits) check() field.ErrorList {
	var errs field.ErrorList
	all := field.NewPath("limits")
	if len(l.Limits) == 0 {
		errs = append(errs, field.Invalid(all, l.Limits, "must not be empty"))
	}
	for n, limit := range l.Limits {
		at := all.Index(n)
		switch limit.Type {
		case limitServer, limitNamespace, limitUser, limitSourceAndObject:
		default:
			errs = append(errs, field.NotSupported(at.Child("type"), limit.Type, []limitType{limitServer, limitNamespace, limitUser, limitSourceAndObject}))
		}
		if limit.QPS <= 0 {
			errs = append(errs, field.Invalid(at.Child("qps"), limit.QPS, "must be positive"))
		}
		if limit.Burst <= 0 {
			errs = append(errs, field.Invalid(at.Child("burst"), limit.Burst, "must be positive"))
		}
		if limit.CacheSize < 0 {
			errs = append(errs, field.Invalid(at.Child("cacheSize"), limit.CacheSize, "must not be negative"))
		}
	}
	return errs
}

// Validate takes from every limit, also if one has refused.
func (p *eventRateLimit) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	// Events of both groups are the same objects.
	if !is(a, "", "events") && !is(a, "events.k8s.io", "events") {
		return nil
	}
	var refused error
	for _, l := range p.limits {
		if key := l.of(a); !l.bucket(key).TryAccept() {
			refused = apierrors.NewTooManyRequestsError(fmt.Sprintf("limit reached on type %v for key %v", l.kind, key))
		}
	}
	return refused
}

// limiter has a bucket for each key that was seen of late.
type limiter struct {
	kind limitType
	of   func(admission.Attributes) string
	make func() flowcontrol.PassiveRateLimiter

	mu      sync.Mutex // held while a bucket is looked up and made: a key that is new to two requests gets one
	buckets *lru.Cache
}

func newLimiter(l eventLimit, clock passiveClock) *limiter {
	size := int(l.CacheSize)
	if size == 0 {
		size = eventLimitCache
	}
	keys := map[limitType]func(admission.Attributes) string{
		limitServer:    func(admission.Attributes) string { return "" },
		limitNamespace: func(a admission.Attributes) string { return a.GetNamespace() },
		limitUser: func(a admission.Attributes) string {
			if a.GetUserInfo() == nil {
				return ""
			}
			return a.GetUserInfo().GetName()
		},
		limitSourceAndObject: sourceAndObject,
	}
	return &limiter{kind: l.Type, of: keys[l.Type], buckets: lru.New(size), make: func() flowcontrol.PassiveRateLimiter {
		return flowcontrol.NewTokenBucketPassiveRateLimiterWithClock(float32(l.QPS), int(l.Burst), clock)
	}}
}

// bucket finds or makes that of a key. The one unused longest goes when there are too many: who comes back has a full one, so a limit
// that is told apart by more keys than it keeps limits less.
func (l *limiter) bucket(key string) flowcontrol.PassiveRateLimiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b, ok := l.buckets.Get(key); ok {
		return b.(flowcontrol.PassiveRateLimiter)
	}
	b := l.make()
	l.buckets.Add(key, b)
	return b
}

func sourceAndObject(a admission.Attributes) string {
	var source corev1.EventSource
	var about corev1.ObjectReference
	reporter := ""
	switch e := a.GetObject().(type) {
	case *corev1.Event:
		source, about = e.Source, e.InvolvedObject
	case *eventsv1.Event:
		source, about, reporter = e.DeprecatedSource, e.Regarding, e.ReportingController
	default:
		return ""
	}
	return strings.Join([]string{source.Component, source.Host, reporter, about.Kind, about.Namespace, about.Name, string(about.UID), about.APIVersion}, "")
}
