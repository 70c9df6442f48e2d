package placement

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// dynamicResources refuses pods that need a resource claim: claims are not allocated here.
var dynamicResources = plugin{
	preFilter: func(pod *corev1.Pod) string {
		for i := range pod.Spec.ResourceClaims {
			r := &pod.Spec.ResourceClaims[i]
			if r.ResourceClaimName != nil {
				return `resourceclaim "` + *r.ResourceClaimName + `" not found`
			}
			return "waiting for resource claim controller to create the resourceclaim of " + strings.TrimSpace(r.Name)
		}
		return ""
	},
}
