package custom

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"testing"
)

func TestDecode(t *testing.T) {
	for name, test := range map[string]struct {
		text       string
		complaints []string
		fails      bool
		want       map[string]any
	}{
		"all":                {text: `{"apiVersion":"a/v1","kind":"K","metadata":{"name":"x"},"spec":{"n":1,"f":1.5,"big":12345678901234567890}}`, want: map[string]any{"spec": map[string]any{"n": int64(1), "f": 1.5, "big": 12345678901234567890.0}}},
		"nothing":            {text: `{}`},
		"null metadata":      {text: `{"metadata":null,"spec":null}`, want: map[string]any{"spec": nil}},
		"twice":              {text: `{"spec":{"a":1,"a":2},"spec":{"b":[{"c":1,"c":2}]}}`, complaints: []string{`duplicate field "spec.a"`, `duplicate field "spec"`, `duplicate field "spec.b[0].c"`}, want: map[string]any{"spec": map[string]any{"b": []any{map[string]any{"c": int64(2)}}}}},
		"twice in metadata":  {text: `{"metadata":{"name":"a","name":"b"}}`, complaints: []string{`duplicate field "metadata.name"`}},
		"unknown metadata":   {text: `{"metadata":{"color":"red","ownerReferences":[{"shade":1}]}}`, complaints: []string{`unknown field "metadata.color"`, `unknown field "metadata.ownerReferences[0].shade"`}},
		"other letters":      {text: `{"Metadata":{"name":"x"},"Kind":1}`, want: map[string]any{"Metadata": map[string]any{"name": "x"}, "Kind": int64(1)}},
		"escaped":            {text: `{"\u006betadata":1,"k\u0069nd":"K"}`, want: map[string]any{"ketadata": int64(1)}},
		"a list":             {text: `[]`, fails: true},
		"a name of numbers":  {text: `{"metadata":{"name":1}}`, fails: true},
		"metadata of text":   {text: `{"metadata":"x"}`, fails: true},
		"a kind of numbers":  {text: `{"kind":1}`, fails: true},
		"a time of nonsense": {text: `{"metadata":{"creationTimestamp":"soon"}}`, fails: true},
		"cut":                {text: `{"spec":{`, fails: true},
		"more":               {text: `{} {}`, fails: true},
	} {
		for _, check := range []bool{true, false} {
			var o Object
			complaints, err := o.Decode([]byte(test.text), check)
			if (err != nil) != test.fails {
				t.Errorf("%s: %v", name, err)
			}
			if err != nil {
				if !reflect.DeepEqual(o, Object{}) {
					t.Errorf("%s: it is half decoded: %v", name, o)
				}
				continue
			}
			if !reflect.DeepEqual(o.Members, test.want) {
				t.Errorf("%s: %#v", name, o.Members)
			}
			var texts []string
			for _, c := range complaints {
				texts = append(texts, c.Error())
			}
			if !check && texts != nil || check && !slices.Equal(texts, test.complaints) {
				t.Errorf("%s: %q", name, texts)
			}
		}
	}
}

func TestObjectAndMap(t *testing.T) {
	var o Object
	if err := json.Unmarshal([]byte(`{"apiVersion":"a/v1","kind":"K","metadata":{"name":"x","labels":{"a":"b"}},"spec":{"a":[1,null]}}`), &o); err != nil {
		t.Fatal(err)
	}
	m, err := o.Map()
	if err != nil {
		t.Fatal(err)
	}
	back, err := FromMap(m)
	if err != nil || !reflect.DeepEqual(back, &o) {
		t.Errorf("%v, %#v", err, back)
	}
	c := o.DeepCopyObject().(*Object)
	c.Members["spec"].(map[string]any)["a"].([]any)[0] = "changed"
	if !reflect.DeepEqual(o.Members["spec"], map[string]any{"a": []any{int64(1), nil}}) {
		t.Error("the copy shares the tree")
	}
	for _, bad := range []map[string]any{{"kind": int64(1)}, {"apiVersion": true}, {"metadata": "x"}, {"metadata": map[string]any{"name": int64(1)}}} {
		if _, err := FromMap(bad); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

func TestList(t *testing.T) {
	l := List{Items: []Object{{Members: map[string]any{"a": []any{int64(1)}}}}}
	c := l.DeepCopyObject().(*List)
	c.Items[0].Members["a"].([]any)[0] = nil
	text, err := json.Marshal(&l)
	if err != nil || string(text) != `{"metadata":{},"items":[{"metadata":{},"a":[1]}]}` {
		t.Errorf("%s, %v", text, err)
	}
	var back List
	if err := errors.Join(err, json.Unmarshal(text, &back)); err != nil || !reflect.DeepEqual(l, back) {
		t.Errorf("%#v, %v", back, err)
	}
}
