package registry

import (
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// fewRequirements is up to how many requirements and values a selector is left as it is.
const fewRequirements = 16

// labelMatcher and fieldMatcher are what is asked of a selector.
type (
	labelMatcher interface{ Matches(labels.Labels) bool }
	fieldMatcher interface{ Matches(fields.Fields) bool }
)

// demand is all that a long selector requires of one key, brought together: an object is then judged at a cost that does not
// grow with the selector. Without that, a selector of thousands of requirements would be gone through for each object of a
// list and, for each watch, with each change.
type demand struct {
	key string
	// absent and present: it must not, or must, have the key.
	absent, present bool
	// allowed values, if bounded; those that are refused.
	bounded          bool
	allowed, refused map[string]struct{}
	// above and below are the bounds of a number; nil is none.
	above, below *int64
}

// matchLabels is the matcher of a selector.
func matchLabels(s labels.Selector) labelMatcher {
	requirements, selectable := s.Requirements()
	size := len(requirements)
	for i := range requirements {
		size += len(requirements[i].ValuesUnsorted())
	}
	if !selectable || size <= fewRequirements {
		return s
	}
	demands := labelDemands{byKey: map[string]*demand{}}
	for i := range requirements {
		r := &requirements[i]
		d := demands.of(r.Key())
		values := r.ValuesUnsorted()
		switch r.Operator() {
		case selection.In, selection.Equals, selection.DoubleEquals:
			d.present = true
			d.allow(values)
		case selection.NotIn, selection.NotEquals:
			d.refuse(values)
		case selection.Exists:
			d.present = true
		case selection.DoesNotExist:
			d.absent = true
		case selection.GreaterThan, selection.LessThan:
			d.present = true
			n, err := strconv.ParseInt(values[0], 10, 64)
			switch {
			case err != nil:
				d.allow(nil)
			case r.Operator() == selection.GreaterThan && (d.above == nil || n > *d.above):
				d.above = &n
			case r.Operator() == selection.LessThan && (d.below == nil || n < *d.below):
				d.below = &n
			}
		default:
			return s
		}
	}
	for _, d := range demands.byKey {
		if d.present {
			demands.needed++
		}
	}
	return demands
}

// labelDemands are the demands of a selector by their keys, and how many of the keys must be there.
type labelDemands struct {
	byKey  map[string]*demand
	needed int
}

func (m labelDemands) of(key string) *demand {
	d := m.byKey[key]
	if d == nil {
		d = &demand{key: key}
		m.byKey[key] = d
	}
	return d
}

// Matches implements labelMatcher. A key that is not there meets every demand but that it must be.
func (m labelDemands) Matches(have labels.Labels) bool {
	needed := m.needed
	all := eachLabel(have, func(key, value string) bool {
		d := m.byKey[key]
		if d == nil {
			return true
		}
		if d.present {
			needed--
		}
		return d.met(value)
	})
	return all && needed == 0
}

// eachLabel calls f for each label, until f returns false.
func eachLabel(have labels.Labels, f func(key, value string) bool) bool {
	switch have := have.(type) {
	case interface { // where they stand in an encoded object
		Each(func(key, value string) bool) bool
	}:
		return have.Each(f)
	case labels.Set:
		for key, value := range have {
			if !f(key, value) {
				return false
			}
		}
	}
	return true
}

func (d *demand) allow(values []string) {
	set := make(map[string]struct{}, len(values))
	for _, v := range values {
		if _, ok := d.allowed[v]; ok || !d.bounded {
			set[v] = struct{}{}
		}
	}
	d.bounded, d.allowed = true, set
}

func (d *demand) refuse(values []string) {
	if d.refused == nil {
		d.refused = make(map[string]struct{}, len(values))
	}
	for _, v := range values {
		d.refused[v] = struct{}{}
	}
}

// met tells whether a value that is there will do.
func (d *demand) met(value string) bool {
	if d.absent {
		return false
	}
	if _, ok := d.refused[value]; ok {
		return false
	}
	if _, ok := d.allowed[value]; d.bounded && !ok {
		return false
	}
	if d.above == nil && d.below == nil {
		return true
	}
	n, err := strconv.ParseInt(value, 10, 64)
	return err == nil && (d.above == nil || n > *d.above) && (d.below == nil || n < *d.below)
}

// matchFields is the matcher of a field selector.
func matchFields(s fields.Selector) fieldMatcher {
	requirements := s.Requirements()
	if len(requirements) <= fewRequirements {
		return s
	}
	demands := fieldDemands{}
	for _, r := range requirements {
		at := slices.IndexFunc(demands, func(d *demand) bool { return d.key == r.Field })
		if at < 0 {
			at = len(demands)
			demands = append(demands, &demand{key: r.Field})
		}
		switch r.Operator {
		case selection.Equals, selection.DoubleEquals:
			demands[at].allow([]string{r.Value})
		case selection.NotEquals:
			demands[at].refuse([]string{r.Value})
		default:
			return s
		}
	}
	return demands
}

// fieldDemands are few: a kind has only so many fields to select by.
type fieldDemands []*demand

// Matches implements fieldMatcher.
func (l fieldDemands) Matches(have fields.Fields) bool {
	for _, d := range l {
		if !d.met(have.Get(d.key)) {
			return false
		}
	}
	return true
}
