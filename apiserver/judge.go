package apiserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// judge adds to what is wrong with an object what its kind cannot know, because it depends on who asks or on other objects. old is nil on
// create; found is what is wrong already.
type judge func(c *call, ctx context.Context, next, old kind.Object, found field.ErrorList) field.ErrorList

// judges by resource and subresource.
var judges = map[schema.GroupResource]map[string]judge{
	{Group: "certificates.k8s.io", Resource: "podcertificaterequests"}: {"status": (*call).judgeSigning},
	{Group: "resource.k8s.io", Resource: "resourceclaims"}:             {"": (*call).judgeClaim, "status": (*call).judgeAllocation},
	{Group: "resource.k8s.io", Resource: "resourceclaimtemplates"}:     {"": (*call).judgeClaim},
}

// judge of what is asked for; nil if the kind knows all there is to know.
func (c *call) judge() func(ctx context.Context, next, old kind.Object, found field.ErrorList) field.ErrorList {
	f := judges[c.rt.info.GR()][c.Subresource]
	if f == nil {
		return nil
	}
	return func(ctx context.Context, next, old kind.Object, found field.ErrorList) field.ErrorList {
		return f(c, ctx, next, old, found)
	}
}

// may asks for what is no resource of its own but is authorized like one; nil if the user may.
func (c *call) may(ctx context.Context, a authorizer.AttributesRecord) error {
	a.User, a.ResourceRequest = c.User, true
	return c.s.authorize(ctx, &attributes{AttributesRecord: a})
}

// judgeSigning keeps a pod's certificate from whom may not sign for the signer.
func (c *call) judgeSigning(ctx context.Context, next, old kind.Object, found field.ErrorList) field.ErrorList {
	after, before := next.(*certificatesv1.PodCertificateRequest), old.(*certificatesv1.PodCertificateRequest)
	if len(found) > 0 || equality.Semantic.DeepEqual(after.Status, before.Status) {
		return found
	}
	signer := before.Spec.SignerName
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		if c.may(ctx, authorizer.AttributesRecord{Verb: "sign", APIGroup: certificatesv1.GroupName, APIVersion: "*", Resource: "signers", Name: name}) == nil {
			return found
		}
	}
	return append(found, field.Forbidden(field.NewPath("spec", "signerName"), fmt.Sprintf("User %q is not permitted to \"sign\" for signer %q", c.User.GetName(), signer)))
}

// judgeClaim lets a new claim, or template, have admin access to devices only in a namespace that is meant for it.
func (c *call) judgeClaim(ctx context.Context, next, old kind.Object, found field.ErrorList) field.ErrorList {
	if old != nil {
		return found // the spec stays as it is
	}
	var requests []resourcev1.DeviceRequest
	switch o := next.(type) {
	case *resourcev1.ResourceClaim:
		requests = o.Spec.Devices.Requests
	case *resourcev1.ResourceClaimTemplate:
		requests = o.Spec.Spec.Devices.Requests
	}
	n := slices.IndexFunc(requests, func(r resourcev1.DeviceRequest) bool { return r.Exactly != nil && yes(r.Exactly.AdminAccess) })
	if n < 0 {
		return found
	}
	return c.judgeAdminAccess(ctx, next.GetNamespace(), field.NewPath("spec", "devices", "requests").Index(n), found)
}

func yes(b *bool) bool { return b != nil && *b }

// judgeAdminAccess puts its finding before the others, as upstream does.
func (c *call) judgeAdminAccess(ctx context.Context, namespace string, at *field.Path, found field.ErrorList) field.ErrorList {
	at = at.Child("adminAccess")
	ns, err := c.namespace(ctx, namespace)
	if err != nil {
		return append(field.ErrorList{field.InternalError(at, fmt.Errorf("cannot tell whether the namespace is for admin access: %w", err))}, found...)
	}
	if ns.Labels[resourcev1.DRAAdminNamespaceLabelKey] != "true" {
		return append(field.ErrorList{field.Forbidden(at, fmt.Sprintf("admin access to devices needs a namespace with the label %s: true", resourcev1.DRAAdminNamespaceLabelKey))}, found...)
	}
	return found
}

// namespace is the mirror's; one that it does not know yet may have just been made elsewhere.
func (c *call) namespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	r, ok := c.s.Registry.Resource(schema.GroupResource{Resource: "namespaces"})
	if !ok {
		return nil, errors.New("namespaces are not served")
	}
	item := r.Peek("", name)
	if item == nil {
		if _, err := c.s.Registry.Fresh(ctx); err != nil {
			return nil, err
		}
		if item = r.Peek("", name); item == nil {
			return nil, fmt.Errorf("there is no namespace %q", name)
		}
	}
	ns, ok := item.Object().(*corev1.Namespace)
	if !ok {
		return nil, fmt.Errorf("the namespace %q cannot be read", name)
	}
	return ns, nil
}

// judgeAllocation lets only those who bind claims change what is allocated and for whom, and drivers only what is said of their devices.
func (c *call) judgeAllocation(ctx context.Context, next, old kind.Object, found field.ErrorList) field.ErrorList {
	after, before := &next.(*resourcev1.ResourceClaim).Status, &old.(*resourcev1.ResourceClaim).Status
	var own field.ErrorList
	if n := adminResult(after); n >= 0 && adminResult(before) < 0 {
		at := field.NewPath("status", "allocation", "devices", "results").Index(n)
		own = c.judgeAdminAccess(ctx, next.GetNamespace(), at, own)
	}
	if !equality.Semantic.DeepEqual(after.Allocation, before.Allocation) || !equality.Semantic.DeepEqual(after.ReservedFor, before.ReservedFor) {
		if err := c.may(ctx, authorizer.AttributesRecord{Verb: string(c.Verb), APIGroup: resourcev1.GroupName, APIVersion: "v1",
			Resource: "resourceclaims", Subresource: resourcev1.SubresourceBinding}); err != nil {
			own = append(own, field.Forbidden(field.NewPath("status", "allocation"), fmt.Sprintf(
				`changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="%s" permission: %s`, c.Verb, err)))
		}
	}
	if after.Allocation != nil { // else the status of all devices goes
		own = append(own, c.judgeDrivers(ctx, next.GetNamespace(), after, before)...)
	}
	return append(own, found...)
}

func adminResult(s *resourcev1.ResourceClaimStatus) int {
	if s.Allocation == nil {
		return -1
	}
	return slices.IndexFunc(s.Allocation.Devices.Results, func(r resourcev1.DeviceRequestAllocationResult) bool { return yes(r.AdminAccess) })
}

// judgeDrivers asks for each driver whose devices' status has changed. A driver on the node of the allocation needs less than others.
func (c *call) judgeDrivers(ctx context.Context, namespace string, after, before *resourcev1.ResourceClaimStatus) (out field.ErrorList) {
	verbs := []string{resourcev1.VerbPrefixArbitraryNode + string(c.Verb)}
	if onNode(c.User, allocatedNode(after.Allocation)) {
		verbs = append([]string{resourcev1.VerbPrefixAssociatedNode + string(c.Verb)}, verbs...)
	}
	drivers := changedDrivers(after, before)
	if len(drivers) > resourcev1.AllocationResultsMaxSize {
		drivers = drivers[:resourcev1.AllocationResultsMaxSize] // no claim has devices of more: it is refused for that
	}
	for _, driver := range drivers {
		var refused error
		for _, verb := range verbs {
			err := c.may(ctx, authorizer.AttributesRecord{Verb: verb, APIGroup: resourcev1.GroupName, APIVersion: "v1", Namespace: namespace,
				Resource: "resourceclaims", Subresource: resourcev1.SubresourceDriver, Name: driver})
			if err == nil {
				refused = nil
				break
			}
			if refused == nil {
				refused = err
			}
		}
		if refused != nil {
			out = append(out, field.Forbidden(field.NewPath("status", "devices"), fmt.Sprintf(
				`changing status.devices requires resource="resourceclaims/driver", verb="%s" permission: %s`, verbs, refused)))
		}
	}
	return out
}

// changedDrivers are the drivers, in order, with devices whose status has come, changed or gone.
func changedDrivers(after, before *resourcev1.ResourceClaimStatus) []string {
	type id struct{ driver, pool, device, share string }
	idOf := func(d *resourcev1.AllocatedDeviceStatus) id {
		out := id{driver: d.Driver, pool: d.Pool, device: d.Device}
		if d.ShareID != nil {
			out.share = *d.ShareID
		}
		return out
	}
	left := map[id]*resourcev1.AllocatedDeviceStatus{}
	for n := range before.Devices {
		left[idOf(&before.Devices[n])] = &before.Devices[n]
	}
	changed := map[string]bool{}
	for n := range after.Devices {
		d := &after.Devices[n]
		key := idOf(d)
		if old := left[key]; old == nil || !equality.Semantic.DeepEqual(old, d) {
			changed[d.Driver] = true
		}
		delete(left, key)
	}
	for key := range left {
		changed[key.driver] = true
	}
	var drivers []string
	for driver := range changed {
		drivers = append(drivers, driver)
	}
	slices.Sort(drivers)
	return drivers
}

// allocatedNode is the one node on which the devices of an allocation are; empty if it is not one.
func allocatedNode(a *resourcev1.AllocationResult) string {
	if a == nil || a.NodeSelector == nil || len(a.NodeSelector.NodeSelectorTerms) != 1 {
		return ""
	}
	t := &a.NodeSelector.NodeSelectorTerms[0]
	if len(t.MatchExpressions) != 0 || len(t.MatchFields) != 1 {
		return ""
	}
	f := &t.MatchFields[0]
	if f.Key != "metadata.name" || f.Operator != corev1.NodeSelectorOpIn || len(f.Values) != 1 {
		return ""
	}
	return f.Values[0]
}

// onNode tells whether a user is a service account of a pod on the node.
func onNode(u user.Info, node string) bool {
	if node == "" {
		return false
	}
	if _, _, err := serviceaccount.SplitUsername(u.GetName()); err != nil {
		return false
	}
	names := u.GetExtra()[serviceaccount.NodeNameKey]
	return len(names) == 1 && len(apivalidation.NameIsDNSSubdomain(names[0], false)) == 0 && names[0] == node
}
