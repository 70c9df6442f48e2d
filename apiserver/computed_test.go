package apiserver_test

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
)

// TestComputed reads a kind that is kept nowhere.
func TestComputed(t *testing.T) {
	status := func(name string, s corev1.ConditionStatus, message string) *corev1.ComponentStatus {
		return &corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: name},
			Conditions: []corev1.ComponentCondition{{Type: corev1.ComponentHealthy, Status: s, Message: message}}}
	}
	h := newHouse(t, func(o *apiserver.Options) {
		o.Computed = map[schema.GroupResource]apiserver.Computed{{Resource: "componentstatuses"}: func(context.Context) []kind.Object {
			return []kind.Object{status("etcd-0", corev1.ConditionTrue, "ok"), status("scheduler", corev1.ConditionFalse, "no leader")}
		}}
	})
	client, err := rest.HTTPClientFor(h.config)
	if err != nil {
		t.Fatal(err)
	}
	const path = "/api/v1/componentstatuses"
	warning := `Warning: 299 - "v1 ComponentStatus is deprecated in v1.19+"`
	table := []string{"Accept: application/json;as=Table;g=meta.k8s.io;v=v1"}
	for _, c := range []exchangeCase{
		{name: "get", method: "GET", path: path + "/scheduler", code: 200, want: []string{`"metadata":{"name":"scheduler"}`, `"message":"no leader"`, warning}},
		{name: "get none", method: "GET", path: path + "/x", code: 404, want: []string{`componentstatus \"x\" not found`}},
		{name: "list", method: "GET", path: path, code: 200, want: []string{`"kind":"ComponentStatusList"`, `"metadata":{}`, `"name":"etcd-0"`, `"name":"scheduler"`, warning}},
		{name: "table", method: "GET", path: path, headers: table, code: 200, want: []string{`["etcd-0","Healthy","ok",""]`, `["scheduler","Unhealthy","no leader",""]`}},
		{name: "by name", method: "GET", path: path + "?fieldSelector=metadata.name%3Dscheduler", headers: table, code: 200, want: []string{`"rows":[{"cells":["scheduler"`}},
		{name: "by label", method: "GET", path: path + "?labelSelector=a%3Db", code: 200, want: []string{`"items":[]`}},
		{name: "by unknown field", method: "GET", path: path + "?fieldSelector=a%3Db", code: 400, want: []string{"field label not supported"}},
		{name: "watch", method: "GET", path: path + "?watch=1", code: 405},
		{name: "create", method: "POST", path: path, body: "{}", code: 405},
		{name: "delete", method: "DELETE", path: path + "/scheduler", code: 405},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) { c.check(t, client, h.config.Host) })
	}
	binary := rest.CopyConfig(h.config)
	binary.ContentType = "application/vnd.kubernetes.protobuf"
	typed, err := kubernetes.NewForConfig(binary)
	if err != nil {
		t.Fatal(err)
	}
	list, err := typed.CoreV1().ComponentStatuses().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 2 || list.Items[1].Conditions[0].Message != "no leader" {
		t.Errorf("as protobuf: %v %v", list, err)
	}
}
