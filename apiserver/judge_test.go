package apiserver_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
)

// granting authorizes all but what is kept from plain users: that, only to those who have it by "verb resource/subresource namespace/name".
func granting(granted map[string]bool) authorizer.UnconditionalAuthorizer {
	return authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		kept := a.GetResource() == "signers" || a.GetSubresource() == "binding" || a.GetSubresource() == "driver"
		asked := fmt.Sprintf("%s %s/%s %s/%s", a.GetVerb(), a.GetResource(), a.GetSubresource(), a.GetNamespace(), a.GetName())
		if !kept || granted[asked] {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionNoOpinion, "", nil
	})
}

// causes of a refusal, as "field reason"; the code if it has none.
func causes(err error) string {
	status, ok := err.(*apierrors.StatusError)
	if !ok {
		return fmt.Sprint(err)
	}
	if status.ErrStatus.Details == nil || len(status.ErrStatus.Details.Causes) == 0 {
		return fmt.Sprint(status.ErrStatus.Code)
	}
	var out []string
	for _, c := range status.ErrStatus.Details.Causes {
		out = append(out, c.Field+" "+strings.TrimPrefix(string(c.Type), "FieldValue"))
	}
	return strings.Join(out, ", ")
}

func claimOf(name string, admin bool) *resourcev1.ResourceClaim {
	exactly := &resourcev1.ExactDeviceRequest{DeviceClassName: "c"}
	if admin {
		exactly.AdminAccess = &admin
	}
	return &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourcev1.ResourceClaimSpec{
		Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{Name: "r", Exactly: exactly}}}}}
}

func TestAdminAccess(t *testing.T) {
	s := newServer(t, nil)
	do := func(k *kind.Kind, namespace string, o kind.Object) error {
		_, err := s.Do(t.Context(), &apiserver.Request{User: root, Verb: "create", Kind: k, Namespace: namespace, Object: o})
		return err
	}
	for name, labels := range map[string]map[string]string{"admins": {resourcev1.DRAAdminNamespaceLabelKey: "true"}, "nearly": {resourcev1.DRAAdminNamespaceLabelKey: "yes"}} {
		if err := do(api.Of[*corev1.Namespace](), "", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}); err != nil {
			t.Fatal(err)
		}
	}
	claims, templates := api.Of[*resourcev1.ResourceClaim](), api.Of[*resourcev1.ResourceClaimTemplate]()
	template := func(c *resourcev1.ResourceClaim) kind.Object {
		return &resourcev1.ResourceClaimTemplate{ObjectMeta: c.ObjectMeta, Spec: resourcev1.ResourceClaimTemplateSpec{Spec: c.Spec}}
	}
	const refused = "spec.devices.requests[0].adminAccess Forbidden"
	for namespace, want := range map[string]string{"admins": "<nil>", "nearly": refused, "default": refused, "gone": "spec.devices.requests[0].adminAccess InternalError"} {
		if got := causes(do(claims, namespace, claimOf("a", true))); got != want {
			t.Errorf("a claim in %s: %s, want %s", namespace, got, want)
		}
		if got := causes(do(templates, namespace, template(claimOf("a", true)))); got != want {
			t.Errorf("a template in %s: %s, want %s", namespace, got, want)
		}
	}
	for namespace, want := range map[string]string{"admins": "<nil>", "default": refused} { // an apply that creates is judged alike
		_, err := s.Do(t.Context(), &apiserver.Request{User: root, Verb: "patch", Kind: claims, Namespace: namespace, Name: "applied",
			PatchType: types.ApplyYAMLPatchType, PatchOptions: metav1.PatchOptions{FieldManager: "m"}, Patch: []byte(`{"apiVersion":"resource.k8s.io/v1",` +
				`"kind":"ResourceClaim","metadata":{"name":"applied"},"spec":{"devices":{"requests":[{"name":"r","exactly":{"deviceClassName":"c","adminAccess":true}}]}}}`)})
		if got := causes(err); got != want {
			t.Errorf("a claim applied in %s: %s, want %s (%v)", namespace, got, want, err)
		}
	}
	if err := do(claims, "default", claimOf("plain", false)); err != nil {
		t.Error(err)
	}
	// Whoever applies what is not there yet creates it.
	for namespace, want := range map[string]string{"admins": "<nil>", "nearly": refused} {
		for _, k := range []*kind.Kind{claims, templates} {
			spec := `devices: {requests: [{name: r, exactly: {deviceClassName: c, adminAccess: true}}]}`
			if k == templates {
				spec = "spec: {" + spec + "}"
			}
			_, err := s.Do(t.Context(), &apiserver.Request{User: root, Verb: "patch", Kind: k, Namespace: namespace, Name: "applied", PatchType: types.ApplyYAMLPatchType,
				Patch: []byte("{apiVersion: resource.k8s.io/v1, kind: " + k.GVK.Kind + ", metadata: {name: applied}, spec: {" + spec + "}}"), PatchOptions: metav1.PatchOptions{FieldManager: "m"}})
			if got := causes(err); got != want {
				t.Errorf("a %s applied in %s: %s, want %s", k.GVK.Kind, namespace, got, want)
			}
		}
	}
	both := claimOf("b", true)
	both.Spec.Devices.Requests[0].Name = "!"
	if got := causes(do(claims, "default", both)); got != refused+", spec.devices.requests[0].name Invalid" {
		t.Errorf("two things wrong: %s", got)
	}
}

// driver is a user that runs on a node.
func driver(node string) user.Info {
	return &user.DefaultInfo{Name: "system:serviceaccount:d:driver", Extra: map[string][]string{"authentication.kubernetes.io/node-name": {node}}}
}

func TestWhoMayWriteClaims(t *testing.T) {
	result := resourcev1.DeviceRequestAllocationResult{Request: "r", Driver: "d.e", Pool: "p", Device: "x"}
	allocation := &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{result}},
		NodeSelector: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
			{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"n1"}}}}}}}
	consumer := []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: "p", UID: "1"}}
	devices := []resourcev1.AllocatedDeviceStatus{{Driver: "d.e", Pool: "p", Device: "x"}}
	const bind, near, far = "update resourceclaims/binding /", "associated-node:update resourceclaims/driver default/d.e", "arbitrary-node:update resourceclaims/driver default/d.e"
	const noBinding, noDriver = "status.allocation Forbidden", "status.devices Forbidden"
	for name, c := range map[string]struct {
		user        user.Info
		grant       string
		before, now resourcev1.ResourceClaimStatus
		want        string
	}{
		"allocate":           {driver("n1"), bind, resourcev1.ResourceClaimStatus{}, resourcev1.ResourceClaimStatus{Allocation: allocation}, "<nil>"},
		"allocate without":   {driver("n1"), near, resourcev1.ResourceClaimStatus{}, resourcev1.ResourceClaimStatus{Allocation: allocation}, noBinding},
		"reserve without":    {driver("n1"), near, resourcev1.ResourceClaimStatus{Allocation: allocation}, resourcev1.ResourceClaimStatus{Allocation: allocation, ReservedFor: consumer}, noBinding},
		"deallocate without": {driver("n1"), near, resourcev1.ResourceClaimStatus{Allocation: allocation}, resourcev1.ResourceClaimStatus{}, noBinding},
		"report":             {driver("n1"), near, resourcev1.ResourceClaimStatus{Allocation: allocation}, resourcev1.ResourceClaimStatus{Allocation: allocation, Devices: devices}, "<nil>"},
		"report from afar":   {driver("n2"), near, resourcev1.ResourceClaimStatus{Allocation: allocation}, resourcev1.ResourceClaimStatus{Allocation: allocation, Devices: devices}, noDriver},
		"afar, allowed":      {driver("n2"), far, resourcev1.ResourceClaimStatus{Allocation: allocation}, resourcev1.ResourceClaimStatus{Allocation: allocation, Devices: devices}, "<nil>"},
		"no node":            {&user.DefaultInfo{Name: "u", Extra: map[string][]string{"authentication.kubernetes.io/node-name": {"n1"}}}, near, resourcev1.ResourceClaimStatus{Allocation: allocation}, resourcev1.ResourceClaimStatus{Allocation: allocation, Devices: devices}, noDriver},
		"take back":          {driver("n1"), bind, resourcev1.ResourceClaimStatus{Allocation: allocation, Devices: devices}, resourcev1.ResourceClaimStatus{Allocation: allocation}, noDriver},
		"nothing":            {driver("n2"), "", resourcev1.ResourceClaimStatus{Allocation: allocation, Devices: devices}, resourcev1.ResourceClaimStatus{Allocation: allocation, Devices: devices}, "<nil>"},
	} {
		granted := map[string]bool{bind: true, far: true}
		s := newServer(t, func(o *apiserver.Options) { o.Authorizer = granting(granted) })
		k := api.Of[*resourcev1.ResourceClaim]()
		claim := claimOf("c", false)
		if _, err := s.Do(t.Context(), &apiserver.Request{User: root, Verb: "create", Kind: k, Namespace: "default", Object: claim}); err != nil {
			t.Fatal(err)
		}
		status := func(u user.Info, to resourcev1.ResourceClaimStatus) error {
			o := kind.Copy(claim)
			o.ResourceVersion, o.UID, o.Status = "", "", to
			_, err := s.Do(t.Context(), &apiserver.Request{User: u, Verb: "update", Kind: k, Namespace: "default", Name: "c", Subresource: "status", Object: kind.Copy(o)})
			return err
		}
		if err := status(root, c.before); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		clear(granted)
		granted[c.grant] = true
		if got := causes(status(c.user, c.now)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestWhoMaySignForPods: the condition is what a signer writes; whoever changes nothing needs no right.
func TestWhoMaySignForPods(t *testing.T) {
	granted := map[string]bool{}
	s := newServer(t, func(o *apiserver.Options) { o.Authorizer = granting(granted) })
	k := api.Of[*certificatesv1.PodCertificateRequest]()
	request := podRequest(t)
	if _, err := s.Do(t.Context(), &apiserver.Request{User: root, Verb: "create", Kind: k, Namespace: "default", Object: request}); err != nil {
		t.Fatal(err)
	}
	item, err := s.Do(t.Context(), &apiserver.Request{User: root, Verb: "get", Kind: k, Namespace: "default", Name: "r"})
	if err != nil {
		t.Fatal(err)
	}
	present := item.Item.Object().(*certificatesv1.PodCertificateRequest)
	status := func(edit func(*certificatesv1.PodCertificateRequest)) string {
		next := kind.Copy(present)
		edit(next)
		_, err := s.Do(t.Context(), &apiserver.Request{User: driver("n"), Verb: "update", Kind: k, Namespace: "default", Name: "r", Subresource: "status", Object: next})
		return causes(err)
	}
	deny := func(r *certificatesv1.PodCertificateRequest) {
		r.Status.Conditions = []metav1.Condition{{Type: "Denied", Status: "True", Reason: "R", LastTransitionTime: metav1.Now()}}
	}
	if got := status(deny); got != "spec.signerName Forbidden" {
		t.Errorf("without the right: %s", got)
	}
	if got := status(func(r *certificatesv1.PodCertificateRequest) { deny(r); r.Status.Conditions[0].Type = "Odd" }); got != "status.conditions.[0].type NotSupported" {
		t.Errorf("what is wrong anyway: %s", got)
	}
	if got := status(func(r *certificatesv1.PodCertificateRequest) { r.Labels = map[string]string{"a": "b"} }); got != "<nil>" {
		t.Errorf("no change of the status: %s", got)
	}
	granted["sign signers/ /a.com/*"] = true
	if got := status(deny); got != "<nil>" {
		t.Errorf("with the right for the domain: %s", got)
	}
}

// TestRequesterIsNoted: whoever asks for a certificate stands in the request, however it is made.
func TestRequesterIsNoted(t *testing.T) {
	s := newServer(t, func(o *apiserver.Options) { o.Authorizer = granting(nil) })
	k := api.Of[*certificatesv1.CertificateSigningRequest]()
	made := signingRequest(t)
	made.Spec.Username, made.Spec.Groups = "forged", []string{"system:masters"}
	r, err := s.Do(t.Context(), &apiserver.Request{User: driver("n"), Verb: "create", Kind: k, Object: made})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Item.Object().(*certificatesv1.CertificateSigningRequest).Spec; got.Username != "system:serviceaccount:d:driver" || len(got.Groups) != 0 || len(got.Extra) != 1 {
		t.Errorf("the requester is %s of %v with %v", got.Username, got.Groups, got.Extra)
	}
}
