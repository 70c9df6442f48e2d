package core

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// LimitRange is the kind of limit ranges.
var LimitRange = kind.Define(kind.Resource{
	GroupVersion: corev1.SchemeGroupVersion, Plural: "limitranges", ShortNames: []string{"limits"}, Namespaced: true,
	List: kind.ListOf[corev1.LimitRangeList], CreateOnUpdate: true,
}, kind.Rules[corev1.LimitRange]{
	Default:  defaultLimitRange,
	Prepare:  nameLimitRange,
	Validate: validateLimitRange,
})

// nameLimitRange names a limit range that its user did not name.
func nameLimitRange(l, old *corev1.LimitRange) {
	if old == nil && l.Name == "" {
		l.Name = string(uuid.NewUUID())
	}
}

// defaultLimitRange fills the defaults of containers from the other values: max is the default limit, and a request
// defaults to the limit, else to min.
func defaultLimitRange(l *corev1.LimitRange) {
	for n := range l.Spec.Limits {
		item := &l.Spec.Limits[n]
		if item.Type != corev1.LimitTypeContainer {
			continue
		}
		limit, request := corev1.ResourceList{}, corev1.ResourceList{}
		maps.Copy(limit, item.Default)
		maps.Copy(request, item.DefaultRequest)
		fill(limit, item.Max)
		fill(request, limit)
		fill(request, item.Min)
		item.Default, item.DefaultRequest = limit, request
	}
}

func fill(list, from corev1.ResourceList) {
	for name, q := range from {
		if _, ok := list[name]; !ok {
			list[name] = q.DeepCopy()
		}
	}
}

func validateLimitRange(l, _ *corev1.LimitRange) field.ErrorList {
	var ps kind.Problems
	seen := map[corev1.LimitType]bool{}
	for n := range l.Spec.Limits {
		item, path := &l.Spec.Limits[n], field.NewPath("spec", "limits").Index(n)
		ps.Add(validateLimitType(item.Type, path.Child("type")))
		if seen[item.Type] {
			ps.Duplicate(path, "type", item.Type)
		}
		seen[item.Type] = true
		ps.Add(validateLimitNames(item, path))
		ps.Add(validateLimitValues(item, path))
	}
	return ps.List
}

func validateLimitType(t corev1.LimitType, path *field.Path) field.ErrorList {
	var ps kind.Problems
	ps.Messages(path, "", string(t), kind.QualifiedName(string(t)))
	switch t {
	case corev1.LimitTypePod, corev1.LimitTypeContainer, corev1.LimitTypePersistentVolumeClaim:
	default:
		if len(ps.List) == 0 && !podspec.HasDomain(string(t)) {
			ps.Invalid(path, "", t, "must be a standard limit type or fully qualified")
		}
	}
	return ps.List
}

func validateLimitNames(item *corev1.LimitRangeItem, path *field.Path) field.ErrorList {
	var ps kind.Problems
	names := func(list corev1.ResourceList, child string) {
		for name := range list {
			ps.Add(podspec.ValidateLimitedResource(item.Type, name, path.Child(child).Key(string(name))))
		}
	}
	names(item.Max, "max")
	names(item.Min, "min")
	if item.Type == corev1.LimitTypePod {
		if len(item.Default) > 0 {
			ps.Forbidden(path, "default", "may not be given for limit type Pod")
		}
		if len(item.DefaultRequest) > 0 {
			ps.Forbidden(path, "defaultRequest", "may not be given for limit type Pod")
		}
	} else {
		names(item.Default, "default")
		names(item.DefaultRequest, "defaultRequest")
	}
	names(item.MaxLimitRequestRatio, "maxLimitRequestRatio")
	if item.Type == corev1.LimitTypePersistentVolumeClaim {
		_, min := item.Min[corev1.ResourceStorage]
		_, max := item.Max[corev1.ResourceStorage]
		if !min && !max {
			ps.Required(path, "limits", "a minimum or maximum storage value is required")
		}
	}
	return ps.List
}

// validateLimitValues checks the order min <= defaultRequest <= default <= max, and that the ratio can be met.
func validateLimitValues(item *corev1.LimitRangeItem, path *field.Path) field.ErrorList {
	keys := map[corev1.ResourceName]bool{}
	lists := []corev1.ResourceList{item.Max, item.Min, item.MaxLimitRequestRatio}
	if item.Type != corev1.LimitTypePod {
		lists = append(lists, item.Default, item.DefaultRequest)
	}
	for _, list := range lists {
		for name := range list {
			keys[name] = true
		}
	}
	var ps kind.Problems
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		ps.Add(validateLimitOf(name, item, path))
	}
	return ps.List
}

func validateLimitOf(name corev1.ResourceName, item *corev1.LimitRangeItem, path *field.Path) field.ErrorList {
	var ps kind.Problems
	min, hasMin := item.Min[name]
	max, hasMax := item.Max[name]
	limit, hasLimit := item.Default[name]
	request, hasRequest := item.DefaultRequest[name]
	ratio, hasRatio := item.MaxLimitRequestRatio[name]
	above := func(child string, low resource.Quantity, hasLow bool, high resource.Quantity, hasHigh bool, of, than string) {
		if hasLow && hasHigh && low.Cmp(high) > 0 {
			ps.Invalid(path.Child(child).Key(string(name)), "", low.String(), of+" value "+low.String()+" is greater than "+than+" value "+high.String())
		}
	}
	above("min", min, hasMin, max, hasMax, "min", "max")
	above("defaultRequest", min, hasMin, request, hasRequest, "min", "default request")
	above("defaultRequest", request, hasRequest, max, hasMax, "default request", "max")
	above("defaultRequest", request, hasRequest, limit, hasLimit, "default request", "default limit")
	above("default", min, hasMin, limit, hasLimit, "min", "default")
	above("default", limit, hasLimit, max, hasMax, "default", "max")
	at := path.Child("maxLimitRequestRatio").Key(string(name))
	if hasRatio && ratio.Cmp(*resource.NewQuantity(1, resource.DecimalSI)) < 0 {
		ps.Invalid(at, "", ratio.String(), "ratio is less than 1")
	}
	if hasRatio && hasMin && hasMax && min.Sign() > 0 {
		if largest := max.AsApproximateFloat64() / min.AsApproximateFloat64(); ratio.AsApproximateFloat64() > largest {
			ps.Invalid(at, "", ratio.String(), "ratio is greater than max divided by min")
		}
	}
	if podspec.NoOvercommit(name) && hasRequest && hasLimit && request.Cmp(limit) != 0 {
		ps.Invalid(path.Child("defaultRequest").Key(string(name)), "", request.String(), "default request must equal the default limit: the resource cannot be overcommitted")
	}
	return ps.List
}
