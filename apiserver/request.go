// Package apiserver answers requests: it is the only gateway to the registry, over HTTPS or from within the process.
package apiserver

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// Request is one call of a resource, from the HTTP door (decoded) or from a client in the process.
type Request struct {
	User                         user.Info
	Verb                         kind.Verb
	Kind                         *kind.Kind
	Namespace, Name, Subresource string
	// Object is the decoded body of create and update. It belongs to the server from the call on.
	Object    runtime.Object
	PatchType types.PatchType
	Patch     []byte

	CreateOptions metav1.CreateOptions
	UpdateOptions metav1.UpdateOptions
	PatchOptions  metav1.PatchOptions
	DeleteOptions metav1.DeleteOptions
	ListOptions   metav1.ListOptions
	GetOptions    metav1.GetOptions
	// UserAgent names the field manager when the options do not.
	UserAgent string
}

// Response is the answer to a Request. One of Item, List, Watch and Object is set.
type Response struct {
	// Code is the HTTP status.
	Code   int
	Item   *registry.Item
	List   *registry.List
	Watch  *registry.Watcher
	Object runtime.Object
	// GVK is the kind of Object; empty means the v1 Status.
	GVK      schema.GroupVersionKind
	Warnings []string
}
