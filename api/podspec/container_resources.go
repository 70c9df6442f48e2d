package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

func isHugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// isNative tells whether Kubernetes itself gives the resource its meaning.
func isNative(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// isExtended tells whether the resource is advertised by someone else.
func isExtended(name corev1.ResourceName) bool {
	if isNative(name) || strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) {
		return false
	}
	// It must be usable in a quota, where it is prefixed.
	return len(kind.QualifiedName(corev1.DefaultResourceRequestsPrefix+string(name))) == 0
}

// overcommittable tells whether limits may exceed requests.
func overcommittable(name corev1.ResourceName) bool { return isNative(name) && !isHugePages(name) }

// Counted tells whether amounts of the resource are counted.
func Counted(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers, corev1.ResourceSecrets,
		corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers:
		return true
	}
	return isExtended(name)
}

// ValidateQuantity judges an amount of a resource.
func ValidateQuantity(name corev1.ResourceName, q resource.Quantity, at *field.Path) field.ErrorList {
	var p problems
	p.quantity(name, q, at)
	return p.List
}

func (p *problems) quantity(name corev1.ResourceName, q resource.Quantity, at *field.Path) {
	if q.Sign() < 0 {
		p.Invalid(at, "", q.String(), "must be greater than or equal to 0")
	}
	if Counted(name) && q.MilliValue()%1000 != 0 {
		p.Invalid(at, "", q.String(), "must be an integer")
	}
}

// resourceNameRule judges the name of a resource in requests or limits.
type resourceNameRule func(name corev1.ResourceName, at *field.Path) field.ErrorList

func validateContainerResourceName(name corev1.ResourceName, at *field.Path) field.ErrorList {
	switch name {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		return nil
	}
	var p problems
	p.Messages(at, "", string(name), kind.QualifiedName(string(name)))
	switch {
	case len(p.List) > 0:
	case isHugePages(name):
	case !strings.Contains(string(name), "/"):
		p.Invalid(at, "", string(name), "must be a standard resource or have a domain prefix")
	case !isNative(name) && !isExtended(name):
		p.Invalid(at, "", string(name), "is no valid name of an extended resource")
	}
	return p.List
}

func validatePodLevelResourceName(name corev1.ResourceName, at *field.Path) field.ErrorList {
	var p problems
	p.Messages(at, "", string(name), kind.QualifiedName(string(name)))
	if len(p.List) == 0 && !resourcehelper.IsSupportedPodLevelResource(name) {
		p.List = append(p.List, field.NotSupported(at, name, []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, "hugepages-*"}))
	}
	return p.List
}

// containerResources judges requests and limits together.
func (v *validator) containerResources(r *corev1.ResourceRequirements, at *field.Path, nameRule resourceNameRule) {
	compute, huge := false, false
	note := func(name corev1.ResourceName) {
		compute = compute || name == corev1.ResourceCPU || name == corev1.ResourceMemory
		huge = huge || isHugePages(name)
	}
	for name, q := range r.Limits {
		note(name)
		v.amount(name, q, at, "limits", nameRule)
	}
	for name, q := range r.Requests {
		note(name)
		v.amount(name, q, at, "requests", nameRule)
		limit, limited := r.Limits[name]
		switch order := q.Cmp(limit); {
		case !limited && !overcommittable(name):
			v.Required(at, "limits", fmt.Sprintf("must have a limit of %s, which cannot be overcommitted", name))
		case limited && order != 0 && !overcommittable(name):
			v.Invalid(at, "requests", q.String(), fmt.Sprintf("must equal the %s limit of %s", name, limit.String()))
		case limited && order > 0:
			v.Invalid(at, "requests", q.String(), fmt.Sprintf("must be less than or equal to the %s limit of %s", name, limit.String()))
		}
	}
	if huge && !compute {
		v.Forbidden(at, "", "huge pages need a request or limit of cpu or memory")
	}
	v.claimReferences(r.Claims, at)
}

func (v *validator) amount(name corev1.ResourceName, q resource.Quantity, at *field.Path, list string, nameRule resourceNameRule) {
	if (name == corev1.ResourceCPU || name == corev1.ResourceMemory) && q.Sign() >= 0 {
		return
	}
	here := at.Child(list).Key(string(name))
	v.Add(nameRule(name, here))
	v.quantity(name, q, here)
	if isHugePages(name) {
		if size := pageSize(name); size <= 0 || q.Value()%size != 0 {
			v.Invalid(here, "", q.String(), fmt.Sprintf("must be a multiple of the page size of %s", name))
		}
	}
}

// pageSize is the size of the pages that a resource is named after; 0 if it is named after none. The name is any text.
func pageSize(name corev1.ResourceName) int64 {
	text := strings.TrimPrefix(string(name), corev1.ResourceHugePagesPrefix)
	if !bounds.SaneQuantity(text) {
		return 0
	}
	page, err := resource.ParseQuantity(text)
	if err != nil || page.Sign() <= 0 || page.MilliValue()%1000 != 0 {
		return 0
	}
	return page.Value()
}

// claimReferences are a container's uses of the pod's resource claims, or of single requests of them.
func (v *validator) claimReferences(claims []corev1.ResourceClaim, at *field.Path) {
	var whole, parts, exact kind.NameSet // the whole claim includes each of its requests
	for i, c := range claims {
		here := at.Child("claims").Index(i)
		if c.Name == "" {
			v.Required(here, "", "")
			continue
		}
		repeated := whole.Has(c.Name)
		if c.Request == "" {
			repeated = !whole.Add(c.Name) || parts.Has(c.Name)
		} else {
			v.Label(here, "request", c.Request)
			parts.Add(c.Name)
			repeated = !exact.Add(c.Name+"/"+c.Request) || repeated
		}
		if repeated {
			v.Duplicate(here, "", c.Name)
		}
		if !v.claims.Has(c.Name) {
			v.NotFound(here, "", c.Name)
		}
	}
}

// podLevelResources are requests and limits for the pod as a whole: its containers must fit in.
func (v *validator) podLevelResources(specPath *field.Path) {
	r, at := v.spec.Resources, specPath.Child("resources")
	if r.Claims != nil {
		v.Forbidden(at, "claims", "may not be set for the pod as a whole")
	}
	v.containerResources(&corev1.ResourceRequirements{Limits: r.Limits, Requests: r.Requests}, at, validatePodLevelResourceName)
	sums := resourcehelper.AggregateContainerRequests(&corev1.Pod{Spec: *v.spec}, resourcehelper.PodResourcesOptions{})
	for _, name := range sortedKeys(sums) {
		if !resourcehelper.IsSupportedPodLevelResource(name) {
			continue
		}
		sum, asked := sums[name], r.Requests[name]
		if sum.Cmp(asked) > 0 {
			v.Invalid(at.Child("requests").Key(string(name)), "", asked.String(), fmt.Sprintf("must be greater than or equal to what the containers request together, %s", sum.String()))
		}
	}
	for i := range v.spec.Containers {
		limits := v.spec.Containers[i].Resources.Limits
		for _, name := range sortedKeys(limits) {
			limit := limits[name]
			if whole, ok := r.Limits[name]; ok && limit.Cmp(whole) > 0 {
				v.Invalid(at.Child("containers").Index(i).Key(string(name)), "limits", limit.String(), fmt.Sprintf("must be less than or equal to the pod's limit of %s", whole.String()))
			}
		}
	}
}

func (v *validator) resizePolicy(policies []corev1.ContainerResizePolicy, at *field.Path) {
	var seen kind.NameSet
	for i, p := range policies {
		if !seen.Add(string(p.ResourceName)) {
			v.Duplicate(at.Child("resizePolicy").Index(i), "", string(p.ResourceName))
		}
		kind.RequiredOneOf(&v.Problems, at, "resizePolicy", p.ResourceName, corev1.ResourceCPU, corev1.ResourceMemory)
		kind.RequiredOneOf(&v.Problems, at, "resizePolicy", p.RestartPolicy, corev1.NotRequired, corev1.RestartContainer)
		if v.spec.RestartPolicy == corev1.RestartPolicyNever && p.RestartPolicy != corev1.NotRequired {
			v.Invalid(at, "resizePolicy", p.RestartPolicy, "must be NotRequired when the pod's restartPolicy is Never")
		}
	}
}
