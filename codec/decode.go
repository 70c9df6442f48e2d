package codec

import (
	"encoding/json"
	"fmt"
	"mime"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
	"github.com/wheelhouse-k8s/wheelhouse/codec/objectjson"
	"github.com/wheelhouse-k8s/wheelhouse/codec/wire"
)

// FormatOf gives the format that a Content-Type names; an empty one means JSON.
func FormatOf(contentType string) (Format, bool) {
	switch contentType {
	case "", contentTypes[JSON]:
		return JSON, true
	case contentTypes[Protobuf]:
		return Protobuf, true
	case contentTypes[YAML]:
		return YAML, true
	}
	parsed, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return JSON, false
	}
	for f, name := range contentTypes {
		if parsed == name {
			return Format(f), true
		}
	}
	return JSON, false
}

// Decode reads a body into an object whose TypeMeta is then empty. What the body leaves out of kind and version is taken
// from want; what it says instead is returned, for the caller to judge. fieldValidation is the request's directive: complaints
// about unknown and duplicate fields are an error when it is Strict, and the second result when it is Warn (or empty).
func Decode(f Format, body []byte, into runtime.Object, want schema.GroupVersionKind, fieldValidation string) (schema.GroupVersionKind, []string, error) {
	if f == Protobuf {
		got, err := decodeProtobuf(body, into, want)
		return got, nil, err
	}
	check := fieldValidation != metav1.FieldValidationIgnore
	var complaints []error
	var err error
	if f == YAML {
		if body, complaints, err = fromYAML(body, check); err != nil {
			return schema.GroupVersionKind{}, nil, err
		}
	}
	if err := bounds.JSON(body, into); err != nil {
		return schema.GroupVersionKind{}, nil, err
	}
	found, err := objectjson.Decode(body, into, check)
	if err != nil {
		return typeOfJSON(body, want), nil, err
	}
	complaints = append(complaints, found...)
	got, err := takeType(into, want)
	if err != nil || len(complaints) == 0 {
		return got, nil, err
	}
	if fieldValidation == metav1.FieldValidationStrict {
		return got, nil, runtime.NewStrictDecodingError(complaints)
	}
	texts := make([]string, len(complaints))
	for i, c := range complaints {
		texts[i] = c.Error()
	}
	return got, texts, nil
}

// fromYAML makes JSON of YAML. The second result says which members are given twice, if that is to be checked.
func fromYAML(body []byte, check bool) ([]byte, []error, error) {
	if err := bounds.YAML(body); err != nil {
		return nil, nil, err
	}
	if check {
		converted, err := yaml.YAMLToJSONStrict(body)
		if err == nil {
			return converted, nil, nil
		}
		converted, again := yaml.YAMLToJSON(body)
		return converted, []error{err}, again
	}
	converted, err := yaml.YAMLToJSON(body)
	return converted, nil, err
}

func decodeProtobuf(body []byte, into runtime.Object, want schema.GroupVersionKind) (schema.GroupVersionKind, error) {
	message, ok := into.(interface{ Unmarshal([]byte) error })
	if !ok {
		return schema.GroupVersionKind{}, fmt.Errorf("%s has no protobuf", want.Kind) // the media type has been refused before
	}
	apiVersion, kind, payload, err := wire.Open(body)
	if err != nil {
		return schema.GroupVersionKind{}, err
	}
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return schema.GroupVersionKind{}, err
	}
	got := withDefaults(gv.WithKind(kind), want)
	if got != want && got.Kind != want.Kind {
		// Another kind's fields have other numbers: leave the payload alone, the caller refuses the kind.
		return got, nil
	}
	if err := bounds.Protobuf(payload, into); err != nil {
		return got, err
	}
	if err := message.Unmarshal(payload); err != nil {
		return got, err
	}
	into.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return got, nil
}

// takeType reads the object's kind and version and clears them.
func takeType(o runtime.Object, want schema.GroupVersionKind) (schema.GroupVersionKind, error) {
	var got schema.GroupVersionKind
	if t, ok := o.GetObjectKind().(*metav1.TypeMeta); ok {
		gv, err := schema.ParseGroupVersion(t.APIVersion)
		if err != nil {
			return got, err
		}
		got = gv.WithKind(t.Kind)
		*t = metav1.TypeMeta{}
	} else {
		got = o.GetObjectKind().GroupVersionKind()
		o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
	return withDefaults(got, want), nil
}

func withDefaults(got, want schema.GroupVersionKind) schema.GroupVersionKind {
	if got.Kind == "" {
		got.Kind = want.Kind
	}
	if got.Version == "" && (got.Group == "" || got.Group == want.Group) {
		got.Group, got.Version = want.Group, want.Version
	}
	return got
}

// typeOfJSON is the kind that a body claims which could not be decoded; empty if not even that can be read.
func typeOfJSON(body []byte, want schema.GroupVersionKind) schema.GroupVersionKind {
	var t metav1.TypeMeta
	if err := json.Unmarshal(body, &t); err != nil {
		return schema.GroupVersionKind{}
	}
	return withDefaults(t.GroupVersionKind(), want)
}

// Summary is the beginning of a body, for messages.
func Summary(body []byte) string {
	const most = 30
	switch {
	case len(body) == 0:
		return "<empty>"
	case len(body) > most:
		return fmt.Sprintf("%q ...", body[:most])
	}
	return fmt.Sprintf("%q", body)
}
