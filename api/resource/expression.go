package resource

import (
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celerrors "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/dynamic-resource-allocation/cel"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// expressions judges the expressions of one object. Each text is compiled once: requests often select alike.
type expressions struct {
	// stored: the expressions have been judged before, when they were new.
	stored bool
	known  map[string]cel.CompilationResult
}

// features are those that upstream has on by default.
var features = cel.Features{EnableConsumableCapacity: true}

func (x *expressions) compile(text string) cel.CompilationResult {
	if result, ok := x.known[text]; ok {
		return result
	}
	fresh := environment.NewExpressions
	result := cel.GetCompiler(features).CompileCELExpression(text, cel.Options{EnvType: &fresh})
	if x.known == nil {
		x.known = map[string]cel.CompilationResult{}
	}
	x.known[text] = result
	return result
}

// selectors judges a list of selectors; one that is too long is reported by what is declared.
func (x *expressions) selectors(ps *kind.Problems, list []resourcev1.DeviceSelector, at *field.Path) {
	if len(list) > resourcev1.DeviceSelectorsMaxSize {
		return
	}
	for n := range list {
		here := at.Index(n)
		if list[n].CEL == nil {
			ps.Required(here, "cel", "")
			continue
		}
		x.expression(ps, list[n].CEL.Expression, here.Child("cel", "expression"))
	}
}

func (x *expressions) expression(ps *kind.Problems, text string, at *field.Path) {
	if x.stored {
		return
	}
	if len(text) > resourcev1.CELSelectorExpressionMaxLength {
		ps.TooLong(at, "", resourcev1.CELSelectorExpressionMaxLength)
		return
	}
	switch result := x.compile(text); {
	case result.Error == nil:
		if result.MaxCost > resourcev1.CELSelectorExpressionMaxCost {
			ps.Forbidden(at, "", "the expression may become too expensive: its cost is over the limit")
		}
	case result.Error.Type == celerrors.ErrorTypeRequired:
		ps.Required(at, "", result.Error.Detail)
	case result.Error.Type == celerrors.ErrorTypeInvalid:
		ps.Invalid(at, "", text, result.Error.Detail)
	default:
		ps.Add(field.ErrorList{field.InternalError(at, result.Error)})
	}
}
