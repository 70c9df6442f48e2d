package admission

import (
	"fmt"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// audience: a node asks for a token with at most one audience, which one of the pod's volumes must call for, unless
// RBAC lets the node ask for it.
func (p *nodeRestriction) audience(q *nodeRequest, request *authenticationv1.TokenRequest, pod *corev1.Pod) error {
	wanted := ""
	switch len(request.Spec.Audiences) {
	case 0:
	case 1:
		wanted = request.Spec.Audiences[0]
	default:
		return q.forbid("node may only request 0 or 1 audiences")
	}
	if p.callsFor(pod, wanted) {
		return nil
	}
	decision, _, err := p.authorizer.Authorize(q.ctx, authorizer.AttributesRecord{
		User: q.GetUserInfo(), Verb: "request-serviceaccounts-token-audience", Namespace: q.GetNamespace(),
		APIVersion: "*", Resource: wanted, Name: q.GetName(), ResourceRequest: true,
	})
	if err == nil && decision == authorizer.DecisionAllow {
		return nil
	}
	return q.forbid("audience %q not found in pod spec volume", wanted)
}

// callsFor tells whether a volume of the pod needs a token for the audience: projected, or through its CSI driver.
func (p *nodeRestriction) callsFor(pod *corev1.Pod, audience string) bool {
	r := reader{p.registry}
	drivers := r.resource("storage.k8s.io", "csidrivers")
	driverAsks := func(name string) bool {
		driver, ok := peek[*storagev1.CSIDriver](drivers, "", name)
		asks := func(t storagev1.TokenRequest) bool { return t.Audience == audience }
		return ok && slices.ContainsFunc(driver.Spec.TokenRequests, asks)
	}
	for n := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[n]
		if v.CSI != nil && driverAsks(v.CSI.Driver) {
			return true
		}
		if v.Projected == nil {
			continue
		}
		for i := range v.Projected.Sources {
			if t := v.Projected.Sources[i].ServiceAccountToken; t != nil && t.Audience == audience {
				return true
			}
		}
	}
	claims, volumes := r.resource("", "persistentvolumeclaims"), r.resource("", "persistentvolumes")
	for name := range podspec.Claims(pod) {
		claim, ok := peek[*corev1.PersistentVolumeClaim](claims, pod.Namespace, name)
		if !ok {
			continue
		}
		volume, ok := peek[*corev1.PersistentVolume](volumes, "", claim.Spec.VolumeName)
		if ok && volume.Spec.CSI != nil && driverAsks(volume.Spec.CSI.Driver) {
			return true
		}
	}
	return false
}

// signingRequest: a node asks for certificates in its own name only.
func signingRequest(q *nodeRequest) error {
	if q.GetOperation() != admission.Create || q.GetSubresource() != "" {
		return nil
	}
	request, ok := q.GetObject().(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return q.unexpected()
	}
	if request.Spec.SignerName != certificatesv1.KubeletServingSignerName && request.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return nil
	}
	parsed, err := parseSigningRequest(request)
	if err != nil {
		return q.forbid("unable to parse csr: %w", err)
	}
	if want := "system:node:" + q.node; parsed.Subject.CommonName != want {
		return q.forbid("can only create a node CSR with CN=%s", want)
	}
	return nil
}

// podCertificate: a node asks for a pod's certificate only if the pod runs on it and mounts one of that signer.
func (p *nodeRestriction) podCertificate(q *nodeRequest) error {
	if q.GetOperation() != admission.Create || q.GetSubresource() != "" {
		return q.forbid("unexpected operation %q on subresource %q", q.GetOperation(), q.GetSubresource())
	}
	request, ok := q.GetObject().(*certificatesv1.PodCertificateRequest)
	if !ok {
		return q.unexpected()
	}
	s := &request.Spec
	if string(s.NodeName) != q.node {
		return q.forbid("PodCertificateRequest.Spec.NodeName=%q, which is not the requesting node %q", s.NodeName, q.node)
	}
	pod, err := p.existing(q, s.PodName)
	if err != nil {
		return err
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return q.forbid("pod is a mirror pod")
	}
	for _, c := range []struct {
		name, asked, real string
	}{
		{"NodeName", string(s.NodeName), pod.Spec.NodeName},
		{"ServiceAccountName", s.ServiceAccountName, pod.Spec.ServiceAccountName},
	} {
		if c.asked != c.real {
			return q.forbid("PodCertificateRequest.Spec.%s=%q, but the pod has %q", c.name, c.asked, c.real)
		}
	}
	if err := p.incarnations(q, s, pod); err != nil {
		return err
	}
	if !mountsCertificate(pod, s.SignerName) && !p.mayAskSigner(q, s) {
		return q.forbid("no podCertificate volume of the pod asks for signer %q", s.SignerName)
	}
	return nil
}

// incarnations: the request is about the node, the pod and the account that are there now, not about earlier ones of their names. Signers
// write the uids into certificates. Another one is not forbidden, only not known: the mirror may be behind, and the node asks again.
func (p *nodeRestriction) incarnations(q *nodeRequest, s *certificatesv1.PodCertificateRequestSpec, pod *corev1.Pod) error {
	node, ok := await[*corev1.Node](q.ctx, p.registry, p.nodes, "", q.node)
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "nodes"}, q.node)
	}
	accounts := reader{p.registry}.resource("", "serviceaccounts")
	account, ok := await[*corev1.ServiceAccount](q.ctx, p.registry, accounts, q.GetNamespace(), s.ServiceAccountName)
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "serviceaccounts"}, s.ServiceAccountName)
	}
	for _, c := range []struct {
		name        string
		asked, real types.UID
	}{{"NodeUID", s.NodeUID, node.UID}, {"PodUID", s.PodUID, pod.UID}, {"ServiceAccountUID", s.ServiceAccountUID, account.UID}} {
		if c.asked != c.real {
			return apierrors.NewInternalError(fmt.Errorf("PodCertificateRequest.Spec.%s=%q, but the present one has %q", c.name, c.asked, c.real))
		}
	}
	return nil
}

// mayAskSigner tells whether the node has a right of its own to ask the signer for certificates of the account. A slash cannot stand
// in the name of a resource: a colon stands for it.
func (p *nodeRestriction) mayAskSigner(q *nodeRequest, s *certificatesv1.PodCertificateRequestSpec) bool {
	decision, _, err := p.authorizer.Authorize(q.ctx, authorizer.AttributesRecord{
		User: q.GetUserInfo(), Verb: "request-serviceaccounts-podcertificate-signer", Namespace: q.GetNamespace(), APIGroup: certificatesGroup,
		APIVersion: q.GetResource().Version, Resource: strings.ReplaceAll(s.SignerName, "/", ":"), Name: s.ServiceAccountName, ResourceRequest: true,
	})
	return err == nil && decision == authorizer.DecisionAllow
}

func mountsCertificate(pod *corev1.Pod, signer string) bool {
	for n := range pod.Spec.Volumes {
		projected := pod.Spec.Volumes[n].Projected
		if projected == nil {
			continue
		}
		for i := range projected.Sources {
			if c := projected.Sources[i].PodCertificate; c != nil && c.SignerName == signer {
				return true
			}
		}
	}
	return false
}
