package podspec

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestImageTag(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("a", 64)
	for image, want := range map[string]string{
		"nginx": "latest", "nginx:1.27": "1.27", "library/nginx:latest": "latest", "reg.example:5000/a/b": "latest", "reg.example:5000/a/b:v1": "v1",
		"a__b": "latest", "Bad": "", "nginx:": "", "nginx" + digest: "", "nginx:v1" + digest: "v1", strings.Repeat("a", 64): "", "localhost/x": "latest", "a//b": "",
	} {
		if got := imageTag(image); got != want {
			t.Errorf("%s: %q, want %q", image, got, want)
		}
	}
}

func TestWindowsUsers(t *testing.T) {
	for name, ok := range map[string]bool{`a`: true, `D\a`: true, `d.example\a`: true, ``: false, `a\b\c`: false, `a/b`: false, `. .`: false, `\a`: false} {
		if got := len(windowsUserMessages(name)) == 0; got != ok {
			t.Errorf("%q: %v", name, got)
		}
	}
}

// TestPageSizes: the name of a resource is any text.
func TestPageSizes(t *testing.T) {
	for name, want := range map[corev1.ResourceName]int64{"hugepages-2Mi": 2 << 20, "hugepages-1e3": 1000, "hugepages-": 0, "hugepages-0": 0,
		"hugepages-1m": 0, "hugepages--1": 0, "hugepages-1e9999999": 0} {
		if have := pageSize(name); have != want {
			t.Errorf("%s: %d instead of %d", name, have, want)
		}
	}
	for zeros := range 100 { // a large power of ten has 0 for its lowest bits
		name := corev1.ResourceName(fmt.Sprintf("hugepages-1e%d", zeros))
		p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i:1"}}}}
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), name: resource.MustParse("1")}
		DefaultPod(p)
		ValidatePod(p, Allowances{})
	}
}
