package registry

import (
	"encoding/json"
	"fmt"
	"io"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// commonPod is a pod of a Deployment, with managed fields and a service account's token: some 1.3 KB stored.
func commonPod(name string) *corev1.Pod {
	yes, seconds, mode := true, int64(3607), int32(420)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "default", GenerateName: "web-7c5ddbdf54-",
			Labels:          map[string]string{"app": "web", "pod-template-hash": "7c5ddbdf54"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-7c5ddbdf54", UID: "5f1b7c6e-98a2-4d0a-b8a0-0d6d3f7b5a11", Controller: &yes, BlockOwnerDeletion: &yes}},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "wheelhouse", Operation: "Update", APIVersion: "v1", FieldsType: "FieldsV1",
				FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:generateName":{},"f:labels":{".":{},"f:app":{},"f:pod-template-hash":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"5f1b7c6e\"}":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"nginx\"}":{".":{},"f:image":{},"f:imagePullPolicy":{},"f:name":{},"f:resources":{},"f:terminationMessagePath":{},"f:terminationMessagePolicy":{}}},"f:dnsPolicy":{},"f:enableServiceLinks":{},"f:restartPolicy":{},"f:schedulerName":{},"f:securityContext":{},"f:terminationGracePeriodSeconds":{}}}`)}},
		},
		Spec: corev1.PodSpec{
			Volumes: []corev1.Volume{{Name: "kube-api-access-x7k2p", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{DefaultMode: &mode, Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{ExpirationSeconds: &seconds, Path: "token"}},
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
			}}}}},
			Containers: []corev1.Container{{Name: "nginx", Image: "nginx:1.27", ImagePullPolicy: "IfNotPresent", TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: "File",
				Resources:    corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("64Mi")}},
				VolumeMounts: []corev1.VolumeMount{{Name: "kube-api-access-x7k2p", ReadOnly: true, MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"}}}},
			RestartPolicy: "Always", DNSPolicy: "ClusterFirst", ServiceAccountName: "default", DeprecatedServiceAccount: "default", SchedulerName: "default-scheduler",
			TerminationGracePeriodSeconds: &seconds, SecurityContext: &corev1.PodSecurityContext{}, EnableServiceLinks: &yes,
			Tolerations: []corev1.Toleration{
				{Key: "node.kubernetes.io/not-ready", Operator: "Exists", Effect: "NoExecute", TolerationSeconds: &seconds},
				{Key: "node.kubernetes.io/unreachable", Operator: "Exists", Effect: "NoExecute", TolerationSeconds: &seconds},
			},
		},
	}
}

// BenchmarkStoreCreate is what the store alone takes for the same bytes.
func BenchmarkStoreCreate(b *testing.B) {
	s := generated.start(b, Options{})
	i := must(s.resource(b, "pods").Create(bg, commonPod("x"), CreateOptions{}))(b)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		must(s.store.Create(bg, fmt.Sprintf("/elsewhere/%d", n), i.value.Bytes, 0))(b)
	}
}

func BenchmarkGet(b *testing.B) {
	r := generated.start(b, Options{}).resource(b, "pods")
	fillPods(b, generated, r, 10000)
	b.ReportAllocs()
	for b.Loop() {
		must(r.Get(bg, "default", "web-7c5ddbdf54-05000", ""))(b)
	}
}

func BenchmarkListProto(b *testing.B) {
	r := generated.start(b, Options{}).resource(b, "pods")
	fillPods(b, generated, r, 10000)
	b.ReportAllocs()
	buf := make([]byte, 0, 64<<10)
	for b.Loop() {
		list := must(r.List(bg, ListOptions{}))(b)
		for _, i := range list.Items {
			buf = i.AppendProto(buf[:0])
			io.Discard.Write(buf)
		}
		b.SetBytes(int64(len(list.Items) * len(buf)))
	}
}

func BenchmarkJSON(b *testing.B) {
	r := generated.start(b, Options{}).resource(b, "pods")
	i := must(r.Create(bg, commonPod("x"), CreateOptions{}))(b).at(7)
	i.Object()
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(len(must(i.JSON())(b))))
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	r := generated.start(b, Options{}).resource(b, "pods")
	i := must(r.Create(bg, commonPod("x"), CreateOptions{}))(b).at(7)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = must(i.AppendJSON(buf[:0]))(b)
	}
}

// BenchmarkEncodingJSON is what encoding/json takes for the same.
func BenchmarkEncodingJSON(b *testing.B) {
	r := generated.start(b, Options{}).resource(b, "pods")
	o := must(r.Create(bg, commonPod("x"), CreateOptions{}))(b).Object()
	b.ReportAllocs()
	for b.Loop() {
		must(json.Marshal(o))(b)
	}
}

func BenchmarkDispatch500(b *testing.B) {
	r := generated.start(b, Options{}).resource(b, "pods")
	i := must(r.Create(bg, commonPod("x"), CreateOptions{}))(b)
	for range 500 {
		w := must(r.Watch(bg, WatchOptions{ResourceVersion: fmt.Sprint(i.Revision())}))(b)
		defer w.Stop()
		go func() {
			for {
				if _, err := w.Next(bg); err != nil {
					return
				}
			}
		}()
	}
	c := &change{old: i, new: i, revision: i.Revision() + 1}
	b.ReportAllocs()
	for b.Loop() {
		r.table.mu.Lock()
		r.table.watchers.dispatch(r.table, c)
		r.table.mu.Unlock()
	}
}
