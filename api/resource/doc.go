// Package resource defines the kinds of resource.k8s.io: devices that drivers offer, claims for them, and classes and taints of devices.
//
// What upstream declares beside the types is judged by the functions that k8s.io/api generates from it; the rest is judged here.
package resource

import (
	"context"
	"encoding/json"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/operation"
	"k8s.io/apimachinery/pkg/api/validate"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

var (
	specPath   = field.NewPath("spec")
	statusPath = field.NewPath("status")
)

// omitted stands in messages for what would be too long.
const omitted = "<value omitted>"

// generated is a function that k8s.io/api generates for a type.
type generated[T any] func(ctx context.Context, op operation.Operation, path *field.Path, next, old *T) field.ErrorList

// declared adds what a generated function finds; old is nil on create. Rules that upstream only watches yet do not count.
func declared[T any](ps *kind.Problems, judge generated[T], path *field.Path, next, old *T) {
	ctx := context.Background() // the functions neither wait nor ask anybody
	op := operation.Operation{Type: operation.Create, Options: map[string]bool{"DRAPartitionableDevicesType": false}}
	if old != nil {
		op.Type = operation.Update
	}
	ps.Add(validate.FilterEnforcedDeclarativeErrors(ctx, judge(ctx, op, path, next, old), true))
}

// validateDriver wants the name of a driver: a DNS name in any case, and short.
func validateDriver(ps *kind.Problems, at *field.Path, child, name string) {
	if name == "" {
		ps.Required(at, child, "")
		return
	}
	if len(name) > resourcev1.DriverNameMaxLength {
		ps.TooLong(at, child, resourcev1.DriverNameMaxLength)
	}
	ps.Messages(at, child, name, kind.DNSSubdomain(strings.ToLower(name)))
}

// validatePool wants the name of a pool: DNS names, separated by slashes.
func validatePool(ps *kind.Problems, at *field.Path, child, name string) {
	if name == "" {
		ps.Required(at, child, "")
		return
	}
	if len(name) > resourcev1.PoolNameMaxLength {
		ps.TooLong(at, child, resourcev1.PoolNameMaxLength)
	}
	for part := range strings.SplitSeq(name, "/") {
		if messages := kind.DNSSubdomain(part); len(messages) > 0 {
			ps.Messages(at, child, part, messages)
			return // the others would be told of alike
		}
	}
}

// validateQualified wants a name of an attribute or a capacity: an identifier, with its domain and a slash before it or not.
func validateQualified(ps *kind.Problems, at *field.Path, name string) {
	domain, id, hasDomain := strings.Cut(name, "/")
	switch {
	case strings.Contains(id, "/"): // upstream lets these pass, and objects with them are stored
		return
	case !hasDomain:
		id = domain
	case domain == "":
		ps.Invalid(at, "", "", "the domain must not be empty")
	default:
		validateDriver(ps, at, "", domain)
	}
	if hasDomain && id == "" {
		ps.Invalid(at, "", "", "the name must not be empty")
		return
	}
	if len(id) > resourcev1.DeviceMaxIDLength {
		ps.TooLong(at, "", resourcev1.DeviceMaxIDLength)
	}
	ps.Messages(at, "", id, content.IsCIdentifier(id))
}

// validateObject wants a JSON object of no more than max bytes, or one of any size that is stored already.
func validateObject(ps *kind.Problems, at *field.Path, child string, raw []byte, stored bool, most int) {
	if len(raw) == 0 {
		ps.Required(at, child, "")
		return
	}
	if !stored && len(raw) > most {
		ps.TooLong(at, child, most)
		return
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		ps.Invalid(at, child, omitted, "must be JSON: "+err.Error())
		return
	}
	switch value.(type) {
	case map[string]any:
	case nil:
		ps.Required(at, child, "")
	default:
		ps.Invalid(at, child, omitted, "must be a JSON object")
	}
}

func validateLabelValue(ps *kind.Problems, at *field.Path, value string) {
	ps.Messages(at, "value", value, validation.IsValidLabelValue(value))
}

// duplicates reports what stands in a list more than once.
func duplicates[K comparable](ps *kind.Problems, at *field.Path, n int, key func(int) K) {
	seen := make(map[K]bool, n)
	for i := range n {
		k := key(i)
		if seen[k] {
			ps.Duplicate(at.Index(i), "", k)
		}
		seen[k] = true
	}
}

// truncate cuts the middle out of a key that a path shows.
func truncate(key string) string {
	const most, gap = resourcev1.DeviceMaxDomainLength + 1 + resourcev1.DeviceMaxIDLength, "..."
	if len(key) <= most {
		return key
	}
	left := most - len(gap)
	return key[:(left+1)/2] + gap + key[len(key)-left/2:]
}
