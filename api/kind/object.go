package kind

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Object is what every stored kind's pointer type is: the generated types of k8s.io/api, which are Messages too, or custom.Object.
//
// In memory an Object has an empty TypeMeta: apiVersion and kind are added when it is encoded.
type Object interface {
	runtime.Object
	metav1.Object
}

// Copy returns a deep copy of o with o's own type.
func Copy[T Object](o T) T { return o.DeepCopyObject().(T) }
