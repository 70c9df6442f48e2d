// Package admission judges and completes objects before they are stored. It is one list of plugins in upstream's
// order; all of them may change an object first, and all of them then judge the result.
package admission

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// Options of a Chain.
type Options struct {
	Registry *registry.Registry
	// Catalog holds the resources that are served.
	Catalog *kind.Catalog
	// Authorizer answers what plugins ask about the user.
	Authorizer Authorizer
	// Enable and Disable name plugins beyond, or of, those that are on by default.
	Enable, Disable []string
	// Configuration of plugins; nil for none.
	Configuration *Configuration
	// Hardened turns on what a cluster shared with strangers needs, and holds pods to the baseline standard.
	Hardened bool
	// NotReadySeconds and UnreachableSeconds are how long pods stay on a node that fails; 0 means 300.
	NotReadySeconds, UnreachableSeconds int64
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Authorizer is what plugins need of the server's authorizer.
type Authorizer interface {
	authorizer.UnconditionalAuthorizer
	// ConfirmNoEscalation keeps users from granting what they do not have; old is nil on create.
	ConfirmNoEscalation(ctx context.Context, u user.Info, namespace string, obj, old kind.Object) error
}

// plugin is one entry of the list.
type plugin struct {
	name string
	// on by default; off must be enabled by name.
	on bool
	// always: it has no name that can be switched off.
	always bool
	// make is nil for what upstream has and this server does not.
	make func(o *Options) (admission.Interface, error)
}

// plugins in upstream's order, which is the order of execution.
var plugins = []plugin{
	{name: "AlwaysAdmit", make: plain(newAlwaysAdmit)},
	{name: "NamespaceAutoProvision", make: plain(newNamespaceAutoProvision)},
	{name: "NamespaceLifecycle", on: true, make: plain(newNamespaceLifecycle)},
	{name: "NamespaceExists", make: plain(newNamespaceExists)},
	{name: "LimitPodHardAntiAffinityTopology", make: plain(newLimitAntiAffinity)},
	{name: "LimitRanger", on: true, make: plain(newLimitRanger)},
	{name: "ServiceAccount", on: true, make: plain(newServiceAccount)},
	{name: "NodeRestriction", on: true, make: plain(newNodeRestriction)},
	{name: "TaintNodesByCondition", on: true, make: plain(newTaintNodes)},
	{name: "AlwaysPullImages", make: plain(newAlwaysPullImages)},
	{name: "ImagePolicyWebhook", make: newImagePolicy},
	{name: "PodSecurity", on: true, make: newPodSecurity},
	{name: "PodNodeSelector", make: newPodNodeSelector},
	{name: "Priority", on: true, make: plain(newPriority)},
	{name: "DefaultTolerationSeconds", on: true, make: plain(newDefaultTolerations)},
	{name: "PodTolerationRestriction", make: newPodTolerations},
	{name: "EventRateLimit", make: newEventRateLimit},
	{name: "ExtendedResourceToleration", make: plain(newExtendedResourceToleration)},
	{name: "DefaultStorageClass"},
	{name: "StorageObjectInUseProtection"},
	{name: "PodGroupProtection"},
	{name: "OwnerReferencesPermissionEnforcement", make: plain(newOwnerReferences)},
	{name: "PersistentVolumeClaimResize"},
	{name: "RuntimeClass", on: true, make: plain(newRuntimeClass)},
	{name: "CertificateApproval", on: true, make: plain(newCertificateApproval)},
	{name: "CertificateSigning", on: true, make: plain(newCertificateSigning)},
	{name: "ClusterTrustBundleAttest", on: true, make: plain(newTrustBundleAttest)},
	{name: "CertificateSubjectRestriction", on: true, make: plain(newSubjectRestriction)},
	{name: "DefaultIngressClass"},
	{name: "DenyServiceExternalIPs", make: newDenyExternalIPs},
	{name: "PodTopologyLabels"},
	{name: "NodeDeclaredFeatureValidator"},
	{name: "JobValidation"},
	{name: "PodResizeValidator"},
	{name: "MutatingAdmissionPolicy"},
	{name: "MutatingAdmissionWebhook"},
	{name: "ValidatingAdmissionPolicy"},
	{name: "ValidatingAdmissionWebhook"},
	{name: "ResourceQuota"},
	{name: "AlwaysDeny", make: plain(newAlwaysDeny)},
	// Last of those that change objects: it must see the rules that would be stored.
	{name: "RoleEscalation", always: true, make: plain(newRoleEscalation)},
}

// plain is for plugins that can always be made.
func plain(make func(o *Options) admission.Interface) func(o *Options) (admission.Interface, error) {
	return func(o *Options) (admission.Interface, error) { return make(o), nil }
}

// Chain runs the plugins that are on.
type Chain struct {
	mutators   []admission.MutationInterface
	validators []admission.ValidationInterface
	names      []string
}

var (
	_ admission.MutationInterface   = &Chain{}
	_ admission.ValidationInterface = &Chain{}
)

// New makes a chain. Unknown names are an error, and so is enabling what this server does not have.
func New(o Options) (*Chain, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Chain{}
	for _, p := range plugins {
		if !o.runs(p) {
			continue
		}
		made, err := p.make(&o)
		if err != nil {
			return nil, err
		}
		if m, ok := made.(admission.MutationInterface); ok {
			c.mutators = append(c.mutators, m)
		}
		if v, ok := made.(admission.ValidationInterface); ok {
			c.validators = append(c.validators, v)
		}
		c.names = append(c.names, p.name)
	}
	return c, nil
}

// Check finds what New would refuse, before anything is started.
func Check(o Options) error {
	if err := o.check(); err != nil {
		return err
	}
	for _, p := range plugins {
		var err error
		switch {
		case !o.runs(p):
		case p.name == "EventRateLimit":
			_, err = eventLimitsOf(&o)
		case p.name == "PodSecurity":
			_, err = podSecurityConfiguration(&o)
		case p.name == "ImagePolicyWebhook":
			_, err = imagePolicyOf(&o)
		case p.name == "PodNodeSelector":
			_, _, err = nodeSelectorsOf(&o)
		case p.name == "PodTolerationRestriction":
			_, _, err = tolerationsOf(&o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (o *Options) check() error {
	known := map[string]plugin{}
	for _, p := range plugins {
		if !p.always {
			known[p.name] = p
		}
	}
	for _, list := range []struct {
		flag  string
		names []string
	}{{"--enable-admission-plugins", o.Enable}, {"--disable-admission-plugins", o.Disable}} {
		for _, name := range list.names {
			p, ok := known[name]
			if !ok {
				return fmt.Errorf("%s: unknown plugin %q", list.flag, name)
			}
			if p.make == nil && list.flag == "--enable-admission-plugins" {
				return fmt.Errorf("%s: this server does not have the plugin %q", list.flag, name)
			}
		}
	}
	for _, name := range o.Enable {
		if slices.Contains(o.Disable, name) {
			return fmt.Errorf("the admission plugin %q is enabled and disabled", name)
		}
	}
	return nil
}

// Names of the plugins that run, in order.
func (c *Chain) Names() []string { return slices.Clone(c.names) }

// Handles tells whether any plugin looks at the operation.
func (c *Chain) Handles(operation admission.Operation) bool {
	for _, m := range c.mutators {
		if m.Handles(operation) {
			return true
		}
	}
	for _, v := range c.validators {
		if v.Handles(operation) {
			return true
		}
	}
	return false
}

// Admit lets every plugin change the object; the first refusal ends it.
func (c *Chain) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	for _, m := range c.mutators {
		if !m.Handles(a.GetOperation()) {
			continue
		}
		if err := m.Admit(ctx, a, o); err != nil {
			return err
		}
	}
	return nil
}

// Validate lets every plugin judge the object; the first refusal ends it.
func (c *Chain) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	for _, v := range c.validators {
		if !v.Handles(a.GetOperation()) {
			continue
		}
		if err := v.Validate(ctx, a, o); err != nil {
			return err
		}
	}
	return nil
}

// operations that a plugin looks at.
type operations uint8

const (
	onCreate operations = 1 << iota
	onUpdate
	onDelete
)

// Handles tells whether the plugin looks at the operation.
func (s operations) Handles(operation admission.Operation) bool {
	switch operation {
	case admission.Create:
		return s&onCreate != 0
	case admission.Update:
		return s&onUpdate != 0
	case admission.Delete:
		return s&onDelete != 0
	}
	return false
}

// reader reads the registry's mirror.
type reader struct{ registry *registry.Registry }

func (r reader) resource(group, resource string) *registry.Resource {
	found, _ := r.registry.Resource(schema.GroupResource{Group: group, Resource: resource})
	return found
}

// peek is an object of the mirror, if there is one of that type. A nil resource has none.
func peek[T kind.Object](r *registry.Resource, namespace, name string) (T, bool) {
	var none T
	if r == nil {
		return none, false
	}
	item := r.Peek(namespace, name)
	if item == nil {
		return none, false
	}
	found, ok := item.Object().(T)
	return found, ok
}

// await is peek that also waits for the mirror to hold all that was acknowledged before: another master may just
// have written the object.
func await[T kind.Object](ctx context.Context, reg *registry.Registry, r *registry.Resource, namespace, name string) (T, bool) {
	if found, ok := peek[T](r, namespace, name); ok {
		return found, true
	}
	var none T
	if r == nil {
		return none, false
	}
	if _, err := reg.Fresh(ctx); err != nil {
		return none, false
	}
	return peek[T](r, namespace, name)
}

// is tells whether the request is for the resource, with or without a subresource.
func is(a admission.Attributes, group, resource string) bool {
	r := a.GetResource()
	return r.Resource == resource && r.Group == group
}
