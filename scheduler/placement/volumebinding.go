package placement

import corev1 "k8s.io/api/core/v1"

// volumeBinding refuses pods that need a volume claim: claims are not bound here, and such a pod must not go to a node that cannot
// give it its volume.
var volumeBinding = plugin{
	preFilter: func(pod *corev1.Pod) string {
		for i := range pod.Spec.Volumes {
			v := &pod.Spec.Volumes[i]
			switch {
			case v.PersistentVolumeClaim != nil:
				return `persistentvolumeclaim "` + v.PersistentVolumeClaim.ClaimName + `" not found`
			case v.Ephemeral != nil:
				return `waiting for ephemeral volume controller to create the persistentvolumeclaim "` + pod.Name + "-" + v.Name + `"`
			}
		}
		return ""
	},
}
