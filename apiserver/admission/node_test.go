package admission

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

var n1 = &user.DefaultInfo{Name: "system:node:n1", Groups: []string{"system:nodes"}}

func TestNodeRestrictionNodes(t *testing.T) {
	w := newWorld(t, nil)
	node := func(edit func(n *corev1.Node)) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"kubernetes.io/hostname": "n1"}},
			Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}}}}
		if edit != nil {
			edit(n)
		}
		return n
	}
	label := func(key string) func(n *corev1.Node) { return func(n *corev1.Node) { n.Labels[key] = "x" } }
	other := node(func(n *corev1.Node) { n.Name = "n2" })
	for name, c := range map[string]struct {
		operation admission.Operation
		obj, old  *corev1.Node
		want      string
	}{
		"create":               {admission.Create, node(nil), nil, ""},
		"create other":         {admission.Create, other, nil, `node "n1" is not allowed to modify node`},
		"own label":            {admission.Create, node(label("example.com/a")), nil, ""},
		"plain label":          {admission.Create, node(label("a")), nil, ""},
		"kubelet's label":      {admission.Create, node(label("kubelet.kubernetes.io/a")), nil, ""},
		"node label":           {admission.Create, node(label("x.node.kubernetes.io/a")), nil, ""},
		"zone":                 {admission.Create, node(label("topology.kubernetes.io/zone")), nil, ""},
		"restricted label":     {admission.Create, node(label("node-restriction.kubernetes.io/a")), nil, `is not allowed to set the following labels: node-restriction.kubernetes.io/a`},
		"role label":           {admission.Create, node(label("node-role.kubernetes.io/control-plane")), nil, `is not allowed to set the following labels: node-role.kubernetes.io/control-plane`},
		"k8s.io label":         {admission.Create, node(label("a.k8s.io/b")), nil, "is not allowed to set the following labels"},
		"update":               {admission.Update, node(label("a")), node(nil), ""},
		"update other":         {admission.Update, other, other, `node "n1" is not allowed to modify node "n2"`},
		"update label":         {admission.Update, node(label("node-restriction.kubernetes.io/a")), node(nil), "is not allowed to modify labels: node-restriction.kubernetes.io/a"},
		"label stays":          {admission.Update, node(label("node-restriction.kubernetes.io/a")), node(label("node-restriction.kubernetes.io/a")), ""},
		"label taken away":     {admission.Update, node(nil), node(label("node-restriction.kubernetes.io/a")), "is not allowed to modify labels"},
		"taints":               {admission.Update, node(func(n *corev1.Node) { n.Spec.Taints = nil }), node(nil), `node "n1" is not allowed to modify taints`},
		"owner":                {admission.Update, node(func(n *corev1.Node) { n.OwnerReferences = []metav1.OwnerReference{{Name: "x"}} }), node(nil), "is not allowed to modify ownerReferences"},
		"delete":               {admission.Delete, nil, node(nil), ""},
		"delete other":         {admission.Delete, nil, other, `node "n1" is not allowed to modify node "n2"`},
		"source of the config": {admission.Update, node(func(n *corev1.Node) { n.Spec.ConfigSource = &corev1.NodeConfigSource{} }), node(nil), "configSource"},
	} {
		q := ask{operation: c.operation, user: n1}
		if c.obj != nil {
			q.obj = c.obj
		}
		if c.old != nil {
			q.old = c.old
		}
		expect(t, name, w.admit(q), c.want)
		if c.operation == admission.Update {
			q.subresource = "status" // which keeps labels and owners no less than the object itself
			expect(t, name+", through its status", w.admit(q), c.want)
		}
	}
	expect(t, "no name", w.admit(ask{obj: node(nil), user: &user.DefaultInfo{Name: "system:node:", Groups: []string{"system:nodes"}}}), "could not determine node from user")
	expect(t, "no node", w.admit(ask{obj: node(label("node-role.kubernetes.io/x"))}), "")
}

func TestNodeRestrictionPods(t *testing.T) {
	w := newWorld(t, nil)
	node := w.store(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	mirror := func(text string, edit func(p *corev1.Pod)) *corev1.Pod {
		yes := true
		p := parsePod(t, text)
		p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
		if p.Spec.NodeName == "" {
			p.Spec.NodeName = "n1"
		}
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n1", UID: node.GetUID(), Controller: &yes}}
		if edit != nil {
			edit(p)
		}
		return p
	}
	for name, c := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"mirror":          {mirror("", nil), ""},
		"no mirror":       {parsePod(t, "spec: {nodeName: n1, serviceAccountName: default}"), "can only create mirror pods"},
		"other node":      {mirror("spec: {nodeName: n2}", nil), "can only create pods with spec.nodeName set to itself"},
		"no owner":        {mirror("", func(p *corev1.Pod) { p.OwnerReferences = nil }), "with an owner reference set to itself"},
		"two owners":      {mirror("", func(p *corev1.Pod) { p.OwnerReferences = append(p.OwnerReferences, p.OwnerReferences[0]) }), "with a single owner reference set to itself"},
		"other owner":     {mirror("", func(p *corev1.Pod) { p.OwnerReferences[0].Name = "n2" }), "with an owner reference set to itself"},
		"no controller":   {mirror("", func(p *corev1.Pod) { p.OwnerReferences[0].Controller = nil }), "controller owner reference"},
		"blocking":        {mirror("", func(p *corev1.Pod) { p.OwnerReferences[0].BlockOwnerDeletion = p.OwnerReferences[0].Controller }), "must not set blockOwnerDeletion"},
		"other uid":       {mirror("", func(p *corev1.Pod) { p.OwnerReferences[0].UID = "x" }), "UID mismatch"},
		"ConfigMap":       {mirror("spec: {volumes: [{name: v, configMap: {name: c}}]}", nil), "can not create pods that reference configmaps"},
		"claim":           {mirror("spec: {volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]}", nil), "can not create pods that reference persistentvolumeclaims"},
		"trust bundle":    {mirror("spec: {volumes: [{name: v, projected: {sources: [{clusterTrustBundle: {name: c, path: p}}]}}]}", nil), "can not create pods that reference clustertrustbundles"},
		"resource claims": {mirror("spec: {resourceClaims: [{name: r, resourceClaimTemplateName: t}]}", nil), "can not create pods that reference resourceclaims"},
	} {
		expect(t, name, w.admit(ask{obj: c.pod, user: n1}), c.want)
	}

	mine := w.store(parsePod(t, "{metadata: {name: mine}, spec: {nodeName: n1, serviceAccountName: default}}")).(*corev1.Pod)
	other := w.store(parsePod(t, "{metadata: {name: other}, spec: {nodeName: n2, serviceAccountName: default}}")).(*corev1.Pod)
	changed := func(edit func(p *corev1.Pod)) *corev1.Pod {
		p := kind.Copy(mine)
		edit(p)
		return p
	}
	claim := "c"
	for name, c := range map[string]struct {
		ask
		want string
	}{
		"delete own":      {ask{operation: admission.Delete, old: mine}, ""},
		"delete other":    {ask{operation: admission.Delete, old: other}, "can only delete pods with spec.nodeName set to itself"},
		"update":          {ask{operation: admission.Update, obj: mine, old: mine}, "can only create and delete mirror pods"},
		"status":          {ask{operation: admission.Update, obj: mine, old: mine, subresource: "status"}, ""},
		"status of other": {ask{operation: admission.Update, obj: other, old: other, subresource: "status"}, "can only update pod status for pods with spec.nodeName set to itself"},
		"labels": {ask{operation: admission.Update, obj: changed(func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b"} }), old: mine, subresource: "status"},
			"cannot update labels through pod status"},
		"claims": {ask{operation: admission.Update, obj: changed(func(p *corev1.Pod) {
			p.Status.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{Name: "r", ResourceClaimName: &claim}}
		}), old: mine, subresource: "status"}, "cannot update resource claim statues"},
		"extended claims": {ask{operation: admission.Update, obj: changed(func(p *corev1.Pod) {
			p.Status.ExtendedResourceClaimStatus = &corev1.PodExtendedResourceClaimStatus{ResourceClaimName: "c"}
		}), old: mine, subresource: "status"}, "cannot update extended resource claim statuses"},
		"binding":     {ask{operation: admission.Create, obj: mine, body: &corev1.Binding{}, name: "mine", subresource: "binding"}, `unexpected pod subresource "binding"`},
		"evict own":   {ask{operation: admission.Create, obj: mine, body: &policyv1.Eviction{}, name: "mine", subresource: "eviction"}, ""},
		"evict other": {ask{operation: admission.Create, obj: other, body: &policyv1.Eviction{}, name: "other", subresource: "eviction"}, "can only evict pods with spec.nodeName set to itself"},
		"evict none":  {ask{operation: admission.Create, obj: mine, body: &policyv1.Eviction{}, name: "nope", subresource: "eviction"}, `404 pods "nope" not found`},
	} {
		c.ask.user = n1
		expect(t, name, w.admit(c.ask), c.want)
	}
}

func TestNodeRestrictionTokens(t *testing.T) {
	w := newWorld(t, nil)
	mine := w.store(parsePod(t, "{metadata: {name: mine}, spec: {nodeName: n1, serviceAccountName: default, volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t, audience: vault, expirationSeconds: 3600}}, {serviceAccountToken: {path: u, expirationSeconds: 3600}}]}}]}}"))
	w.store(parsePod(t, "{metadata: {name: other}, spec: {nodeName: n2, serviceAccountName: default}}"))
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "default"}}
	request := func(name string, uid types.UID, audiences ...string) *authenticationv1.TokenRequest {
		return &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			Audiences: audiences, BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: name, UID: uid},
		}}
	}
	for name, c := range map[string]struct {
		request *authenticationv1.TokenRequest
		want    string
	}{
		"own":            {request("mine", mine.GetUID()), ""},
		"audience":       {request("mine", mine.GetUID(), "vault"), ""},
		"other audience": {request("mine", mine.GetUID(), "bank"), `audience "bank" not found in pod spec volume`},
		"two audiences":  {request("mine", mine.GetUID(), "vault", "bank"), "node may only request 0 or 1 audiences"},
		"not bound":      {&authenticationv1.TokenRequest{}, "node requested token not bound to a pod"},
		"no uid":         {request("mine", ""), "without a uid"},
		"other uid":      {request("mine", "x"), "does not match the UID in record"},
		"other's":        {request("other", pickUID(t, w, "other")), "scheduled on a different node"},
		"missing":        {request("nope", "x"), `404 pods "nope" not found`},
	} {
		expect(t, name, w.admit(ask{obj: sa, body: c.request, name: "default", subresource: "token", user: n1}), c.want)
	}
}

func pickUID(t *testing.T, w *world, name string) types.UID {
	t.Helper()
	pod, ok := peek[*corev1.Pod](reader{w.registry}.resource("", "pods"), "n", name)
	if !ok {
		t.Fatalf("no pod %s", name)
	}
	return pod.UID
}

func TestNodeRestrictionLeases(t *testing.T) {
	w := newWorld(t, nil)
	w.store(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-node-lease"}})
	lease := func(namespace, name string) kind.Object {
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	}
	expect(t, "own", w.admit(ask{obj: lease("kube-node-lease", "n1"), user: n1}), "")
	expect(t, "other", w.admit(ask{obj: lease("kube-node-lease", "n2"), user: n1}), "can only access node lease with the same name as the requesting node")
	expect(t, "other namespace", w.admit(ask{obj: lease("n", "n1"), user: n1}), `can only access leases in the "kube-node-lease" system namespace`)
	expect(t, "update other", w.admit(ask{operation: admission.Update, obj: lease("kube-node-lease", "n2"), old: lease("kube-node-lease", "n2"), user: n1}), "can only access node lease")
}

// attributesOf makes the attributes of a kind that this server does not serve.
func attributesOf(obj kind.Object, gvr metav1.GroupVersionResource) admission.Attributes {
	resource := certificatesv1.SchemeGroupVersion.WithResource(gvr.Resource)
	return admission.NewAttributesRecord(obj, nil, certificatesv1.SchemeGroupVersion.WithKind(""), obj.GetNamespace(), obj.GetName(), resource, "", admission.Create, nil, false, n1)
}

func TestNodeRestrictionCertificates(t *testing.T) {
	w := newWorld(t, nil)
	mine := w.store(parsePod(t, "{metadata: {name: mine}, spec: {nodeName: n1, serviceAccountName: default, volumes: [{name: v, projected: {sources: [{podCertificate: {signerName: a.com/b, keyType: ED25519, credentialBundlePath: p}}]}}]}}"))
	here := w.store(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	account, _ := peek[*corev1.ServiceAccount](reader{w.registry}.resource("", "serviceaccounts"), "n", "default")
	csr := func(name, signer string) kind.Object {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
		if err != nil {
			t.Fatal(err)
		}
		return &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{
			SignerName: signer, Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
		}}
	}
	garbage := &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: certificatesv1.KubeletServingSignerName}}
	forPod := func(edit func(s *certificatesv1.PodCertificateRequestSpec)) kind.Object {
		r := &certificatesv1.PodCertificateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "n"}, Spec: certificatesv1.PodCertificateRequestSpec{
			SignerName: "a.com/b", PodName: "mine", PodUID: mine.GetUID(), ServiceAccountName: "default", ServiceAccountUID: account.UID, NodeName: "n1", NodeUID: here.GetUID(),
		}}
		edit(&r.Spec)
		return r
	}
	const requests, podRequests = "certificatesigningrequests", "podcertificaterequests"
	for name, c := range map[string]struct {
		resource string
		obj      kind.Object
		want     string
	}{
		"own":                 {requests, csr("system:node:n1", certificatesv1.KubeletServingSignerName), ""},
		"other":               {requests, csr("system:node:n2", certificatesv1.KubeletServingSignerName), "can only create a node CSR with CN=system:node:n1"},
		"other signer":        {requests, csr("x", "example.com/x"), ""},
		"garbage":             {requests, garbage, "unable to parse csr"},
		"pod":                 {podRequests, forPod(func(*certificatesv1.PodCertificateRequestSpec) {}), ""},
		"other node":          {podRequests, forPod(func(s *certificatesv1.PodCertificateRequestSpec) { s.NodeName = "n2" }), "which is not the requesting node"},
		"other uid":           {podRequests, forPod(func(s *certificatesv1.PodCertificateRequestSpec) { s.PodUID = "x" }), "500 PodUID"},
		"other account":       {podRequests, forPod(func(s *certificatesv1.PodCertificateRequestSpec) { s.ServiceAccountName = "x" }), "ServiceAccountName"},
		"other node's uid":    {podRequests, forPod(func(s *certificatesv1.PodCertificateRequestSpec) { s.NodeUID = "x" }), "500 NodeUID"},
		"other account's uid": {podRequests, forPod(func(s *certificatesv1.PodCertificateRequestSpec) { s.ServiceAccountUID = "x" }), "500 ServiceAccountUID"},
		"not mounted":         {podRequests, forPod(func(s *certificatesv1.PodCertificateRequestSpec) { s.SignerName = "x.com/y" }), "no podCertificate volume"},
	} {
		a := attributesOf(c.obj, metav1.GroupVersionResource{Resource: c.resource})
		expect(t, name, w.chain.Admit(t.Context(), a, nil), c.want)
	}
	w.store(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "ask"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"certificates.k8s.io"},
		Resources: []string{"x.com:y"}, ResourceNames: []string{"default"}, Verbs: []string{"request-serviceaccounts-podcertificate-signer"}}}})
	w.store(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "ask"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "ask"},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: n1.Name}}})
	if err := w.rights.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	for signer, want := range map[string]string{"x.com/y": "", "x.com/z": "no podCertificate volume"} {
		r := forPod(func(s *certificatesv1.PodCertificateRequestSpec) { s.SignerName = signer })
		expect(t, "not mounted, but with a right for x.com/y: "+signer, w.chain.Admit(t.Context(), attributesOf(r, metav1.GroupVersionResource{Resource: podRequests}), nil), want)
	}
}

// TestNodeRestrictionClaims: of a claim a node tells how large its volume is by now, and nothing else.
func TestNodeRestrictionClaims(t *testing.T) {
	w := newWorld(t, nil)
	claim := func(edit func(c *corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "c", ResourceVersion: "1"}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "v"}}
		if edit != nil {
			edit(c)
		}
		return c
	}
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	const other = "not allowed to update fields other than status.quantity and status.conditions"
	for name, c := range map[string]struct {
		edit        func(c *corev1.PersistentVolumeClaim)
		subresource string
		operation   admission.Operation
		want        string
	}{
		"capacity":  {func(c *corev1.PersistentVolumeClaim) { c.Status.Capacity = size }, "status", admission.Update, ""},
		"allocated": {func(c *corev1.PersistentVolumeClaim) { c.Status.AllocatedResources = size }, "status", admission.Update, ""},
		"conditions": {func(c *corev1.PersistentVolumeClaim) {
			c.Status.Conditions = make([]corev1.PersistentVolumeClaimCondition, 1)
		}, "status", admission.Update, ""},
		"revision":    {func(c *corev1.PersistentVolumeClaim) { c.ResourceVersion = "2" }, "status", admission.Update, ""},
		"phase":       {func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimBound }, "status", admission.Update, other},
		"volume":      {func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "w" }, "status", admission.Update, other},
		"labels":      {func(c *corev1.PersistentVolumeClaim) { c.Labels = map[string]string{"a": "b"} }, "status", admission.Update, other},
		"owners":      {func(c *corev1.PersistentVolumeClaim) { c.OwnerReferences = make([]metav1.OwnerReference, 1) }, "status", admission.Update, other},
		"the claim":   {nil, "", admission.Update, "may only update PVC status"},
		"a new claim": {nil, "", admission.Create, "may only update PVC status"},
		"a creation":  {nil, "status", admission.Create, `unexpected operation "CREATE"`},
	} {
		a := admission.NewAttributesRecord(claim(c.edit), claim(nil), corev1.SchemeGroupVersion.WithKind(""), "n", "c",
			corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims"), c.subresource, c.operation, nil, false, n1)
		expect(t, name, w.chain.Admit(t.Context(), a, nil), c.want)
	}
}

// TestNodeRestrictionSlices: a node tells of its own devices.
func TestNodeRestrictionSlices(t *testing.T) {
	w := newWorld(t, nil)
	slice := func(node string) *resourcev1.ResourceSlice {
		s := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: "s"}}
		if node != "" {
			s.Spec.NodeName = &node
		}
		return s
	}
	for name, c := range map[string]struct {
		obj, old  *resourcev1.ResourceSlice
		operation admission.Operation
		want      string
	}{
		"own":          {slice("n1"), nil, admission.Create, ""},
		"other":        {slice("n2"), nil, admission.Create, "can only create ResourceSlice with the same NodeName"},
		"all nodes'":   {slice(""), nil, admission.Create, "can only create ResourceSlice with the same NodeName"},
		"delete own":   {nil, slice("n1"), admission.Delete, ""},
		"delete other": {nil, slice("n2"), admission.Delete, "can only modify ResourceSlice with the same NodeName"},
		"delete all's": {nil, slice(""), admission.Delete, "can only modify ResourceSlice with the same NodeName"},
		"update other": {slice("n1"), slice("n2"), admission.Update, "can only modify ResourceSlice with the same NodeName"},
	} {
		var obj, old runtime.Object
		if c.obj != nil {
			obj = c.obj
		}
		if c.old != nil {
			old = c.old
		}
		a := admission.NewAttributesRecord(obj, old, resourcev1.SchemeGroupVersion.WithKind(""), "", "s",
			resourcev1.SchemeGroupVersion.WithResource("resourceslices"), "", c.operation, nil, false, n1)
		expect(t, name, w.chain.Admit(t.Context(), a, nil), c.want)
	}
}

// TestSameClaimStatuses: which claim a pod got is not for the node to say.
func TestSameClaimStatuses(t *testing.T) {
	status := func(name, claim string) corev1.PodResourceClaimStatus {
		s := corev1.PodResourceClaimStatus{Name: name}
		if claim != "" {
			s.ResourceClaimName = &claim
		}
		return s
	}
	list := func(of ...corev1.PodResourceClaimStatus) []corev1.PodResourceClaimStatus { return of }
	for name, c := range map[string]struct {
		a, b []corev1.PodResourceClaimStatus
		want bool
	}{
		"none":          {nil, list(), true},
		"same":          {list(status("r", "c"), status("s", "")), list(status("r", "c"), status("s", "")), true},
		"another claim": {list(status("r", "c")), list(status("r", "d")), false},
		"another name":  {list(status("r", "c")), list(status("s", "c")), false},
		"no claim":      {list(status("r", "c")), list(status("r", "")), false},
		"a claim":       {list(status("r", "")), list(status("r", "c")), false},
		"one more":      {list(status("r", "c")), list(status("r", "c"), status("s", "")), false},
		"another order": {list(status("r", "c"), status("s", "d")), list(status("s", "d"), status("r", "c")), false},
	} {
		if got := sameClaimStatuses(c.a, c.b); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
