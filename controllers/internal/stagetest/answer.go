package stagetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
)

// do answers as a server does, and tells of it.
func (s *stage) do(_ context.Context, r client.Request) (runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.Name
	if o, ok := r.Object.(kind.Object); ok && name == "" {
		name = o.GetName() + o.GetGenerateName()
	}
	what := r.Kind.Plural
	if r.Subresource != "" {
		what += "/" + r.Subresource
	}
	namespace := r.Namespace
	if o, ok := r.Object.(kind.Object); ok && namespace == "" {
		namespace = o.GetNamespace()
	}
	answer, err := s.carryOut(&r, namespace, name)
	if e, ok := r.Object.(*corev1.Event); ok {
		name = e.InvolvedObject.Name // its own has the time in it
	}
	s.told = append(s.told, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", r.Verb, what, path.Join(namespace, name), s.detail(&r)))+failed(err))
	return answer, err
}

func failed(err error) string {
	if err == nil {
		return ""
	}
	if reason := apierrors.ReasonForError(err); reason != "" {
		return " -> " + string(reason)
	}
	return " -> " + err.Error()
}

func (s *stage) carryOut(r *client.Request, namespace, name string) (runtime.Object, error) {
	at := place(r.Kind, namespace, name)
	have := s.stored[at]
	refusal := s.refusals[string(r.Verb)+" "+r.Kind.Plural]
	if refusal != "" && refusal != "no" && refusal != "lost" {
		return nil, refused(refusal, r.Kind, name)
	}
	if s.dark[at] && r.Verb != kind.List {
		return nil, unreadable(r.Kind, namespace, name)
	}
	answer, err := s.write(r, at, have, name)
	if refusal == "lost" && err == nil {
		return nil, errors.New("the connection was lost")
	}
	return answer, err
}

func (s *stage) write(r *client.Request, at string, have kind.Object, name string) (runtime.Object, error) {
	missing := apierrors.NewNotFound(r.Kind.GR(), name)
	missing.ErrStatus.Details.Kind = r.Kind.Plural
	switch r.Verb {
	case kind.Get:
		if have == nil {
			return nil, missing
		}
		return have, nil
	case kind.List:
		return s.list(r)
	case kind.Create:
		return s.create(r, at, have, name)
	}
	if have == nil {
		return nil, missing
	}
	switch r.Verb {
	case kind.Delete:
		p := r.Delete.Preconditions
		if p != nil && (p.UID != nil && *p.UID != have.GetUID() || p.ResourceVersion != nil && *p.ResourceVersion != have.GetResourceVersion()) {
			return nil, refused("conflict", r.Kind, name)
		}
		delete(s.stored, at)
		s.Remove(r.Kind, have.GetNamespace(), have.GetName())
		return nil, nil
	case kind.Update:
		o, _ := r.Object.(kind.Object)
		if v := o.GetResourceVersion(); v != "" && v != have.GetResourceVersion() {
			return nil, refused("conflict", r.Kind, name)
		}
		return s.keep(r.Kind, o), nil
	case kind.Patch:
		return s.patch(r, have)
	}
	return nil, fmt.Errorf("the stage knows no %s", r.Verb)
}

func (s *stage) create(r *client.Request, at string, have kind.Object, name string) (runtime.Object, error) {
	if have != nil {
		return nil, refused("exists", r.Kind, name)
	}
	o, ok := r.Object.(kind.Object)
	if !ok || r.Subresource != "" {
		return r.Object, nil
	}
	if o.GetName() == "" {
		o.SetName(fmt.Sprintf("%s%d", o.GetGenerateName(), s.revision))
	}
	o.SetUID(uidOf(o.GetName()))
	return s.keep(r.Kind, o), nil
}

// keep stores an object and shows it.
func (s *stage) keep(k *kind.Kind, o kind.Object) kind.Object {
	s.writeLocked(k, o)
	s.Put(k, kind.Copy(o))
	return kind.Copy(o)
}

func (s *stage) patch(r *client.Request, have kind.Object) (runtime.Object, error) {
	before, err := json.Marshal(have)
	if err != nil {
		return nil, err
	}
	after, err := strategicpatch.StrategicMergePatch(before, r.Patch, r.Kind.New())
	if err != nil {
		return nil, err
	}
	o := r.Kind.New()
	if err := json.Unmarshal(after, o); err != nil {
		return nil, err
	}
	if o.GetUID() != have.GetUID() || o.GetResourceVersion() != have.GetResourceVersion() {
		return nil, refused("conflict", r.Kind, r.Name)
	}
	return s.keep(r.Kind, o), nil
}

func (s *stage) list(r *client.Request) (runtime.Object, error) {
	list := r.Kind.NewList()
	var found []runtime.Object
	for at, o := range s.stored {
		if strings.HasPrefix(at, r.Kind.Plural+"/") && (r.Namespace == "" || o.GetNamespace() == r.Namespace) {
			found = append(found, o)
		}
	}
	for at := range s.dark {
		if strings.HasPrefix(at, place(r.Kind, r.Namespace, "")) {
			namespace, name := split(strings.TrimPrefix(at, r.Kind.Plural+"/"))
			return nil, unreadable(r.Kind, namespace, name)
		}
	}
	if err := meta.SetList(list, found); err != nil {
		return nil, err
	}
	accessor, err := meta.ListAccessor(list)
	if err != nil {
		return nil, err
	}
	accessor.SetResourceVersion(fmt.Sprint(s.revision))
	return list, nil
}

// detail is what a reader wants to know of a request.
func (s *stage) detail(r *client.Request) string {
	switch o := r.Object.(type) {
	case *corev1.Event:
		return fmt.Sprintf("%s %s: %s", o.Type, o.Reason, o.Message)
	case kind.Object:
		return content(o, r.Subresource)
	}
	if r.Verb == kind.Patch {
		return string(r.Patch)
	}
	p := r.Delete.Preconditions
	if r.Verb != kind.Delete || p == nil {
		return ""
	}
	var conditions []string
	if p.UID != nil {
		conditions = append(conditions, string(*p.UID))
	}
	if p.ResourceVersion != nil {
		conditions = append(conditions, "as seen")
	}
	return "if " + strings.Join(conditions, ", ")
}

// content is an object without what every object has, on one line.
func content(o kind.Object, part string) string {
	data, err := json.Marshal(o)
	if err != nil {
		return err.Error()
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return err.Error()
	}
	if part != "" {
		fields = map[string]any{part: fields[part]}
	}
	delete(fields, "kind")
	delete(fields, "apiVersion")
	if m, ok := fields["metadata"].(map[string]any); ok {
		for _, name := range []string{"name", "namespace", "generateName", "uid", "resourceVersion", "creationTimestamp"} {
			delete(m, name)
		}
		if len(m) == 0 {
			delete(fields, "metadata")
		}
	}
	if status, ok := fields["status"].(map[string]any); ok && len(status) == 0 {
		delete(fields, "status")
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func refused(reason string, k *kind.Kind, name string) error {
	switch reason {
	case "conflict":
		return apierrors.NewConflict(k.GR(), name, errors.New("it is another by now"))
	case "notfound":
		return apierrors.NewNotFound(k.GR(), name)
	case "exists":
		return apierrors.NewAlreadyExists(k.GR(), name)
	case "forbidden":
		return apierrors.NewForbidden(k.GR(), name, errors.New("not you"))
	case "invalid":
		return apierrors.NewInvalid(k.GVK.GroupKind(), name, nil)
	case "terminating":
		err := apierrors.NewForbidden(k.GR(), name, errors.New("its namespace is going"))
		err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
		return err
	}
	return fmt.Errorf("no refusal %q", reason)
}

// unreadable is what the server says of a value that it cannot read.
func unreadable(k *kind.Kind, namespace, name string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonStoreReadError, Message: "it cannot be decrypted",
		Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: metav1.CauseTypeUnexpectedServerResponse, Field: k.Key(namespace, name)}}},
	}}
}

func parse(text string) (*kind.Kind, kind.Object, error) {
	var of metav1.TypeMeta
	if err := yaml.Unmarshal([]byte(text), &of); err != nil {
		return nil, nil, fmt.Errorf("%w in %s", err, text)
	}
	for _, k := range api.Kinds() {
		if k.GVK.Kind != of.Kind || of.APIVersion != "" && of.APIVersion != k.GVK.GroupVersion().String() || !k.Stored() {
			continue
		}
		o := k.New()
		if err := yaml.UnmarshalStrict([]byte(text), o); err != nil {
			return nil, nil, fmt.Errorf("%w in %s", err, text)
		}
		if equality.Semantic.DeepEqual(o, k.New()) || o.GetName() == "" {
			return nil, nil, fmt.Errorf("no name in %s", text)
		}
		return k, o, nil
	}
	return nil, nil, fmt.Errorf("no kind in %s", text)
}

func byPlural(plural string) *kind.Kind {
	for _, k := range api.Kinds() {
		if k.Plural == plural && k.Stored() {
			return k
		}
	}
	return nil
}

func place(k *kind.Kind, namespace, name string) string {
	return k.Plural + "/" + namespace + "/" + name
}

// split takes "namespace/name" apart; what has no slash is a name.
func split(text string) (namespace, name string) {
	if before, after, ok := strings.Cut(text, "/"); ok {
		return before, after
	}
	return "", text
}

func uidOf(name string) types.UID { return types.UID("uid-" + name) }
