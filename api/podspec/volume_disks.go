package podspec

import (
	"net"
	"regexp"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// diskSources are the volumes that a storage system provides directly, without a claim.
func (v *validator) diskSources(s *corev1.VolumeSource, at *field.Path, name string, first func(bool, string) bool) {
	v.cloudDisks(s, at, first)
	v.networkDisks(s, at, name, first)
	if first(s.Flocker != nil, "flocker") {
		v.flocker(s.Flocker, at.Child("flocker"))
	}
	if first(s.FlexVolume != nil, "flexVolume") {
		v.flexVolume(s.FlexVolume, at.Child("flexVolume"))
	}
	if first(s.PortworxVolume != nil, "portworxVolume") {
		v.Needs(at.Child("portworxVolume"), "volumeID", s.PortworxVolume.VolumeID)
	}
	if first(s.ScaleIO != nil, "scaleIO") {
		v.Needs(at.Child("scaleIO"), "gateway", s.ScaleIO.Gateway)
		v.Needs(at.Child("scaleIO"), "system", s.ScaleIO.System)
		v.Needs(at.Child("scaleIO"), "volumeName", s.ScaleIO.VolumeName)
	}
	if first(s.StorageOS != nil, "storageos") {
		v.storageOS(s.StorageOS, at.Child("storageos"))
	}
}

func (v *validator) cloudDisks(s *corev1.VolumeSource, at *field.Path, first func(bool, string) bool) {
	if first(s.GCEPersistentDisk != nil, "gcePersistentDisk") {
		here := at.Child("persistentDisk") // upstream's name for it in problems
		v.Needs(here, "pdName", s.GCEPersistentDisk.PDName)
		v.partition(s.GCEPersistentDisk.Partition, here)
	}
	if first(s.AWSElasticBlockStore != nil, "awsElasticBlockStore") {
		here := at.Child("awsElasticBlockStore")
		v.Needs(here, "volumeID", s.AWSElasticBlockStore.VolumeID)
		v.partition(s.AWSElasticBlockStore.Partition, here)
	}
	if first(s.AzureFile != nil, "azureFile") {
		v.Needs(at.Child("azureFile"), "secretName", s.AzureFile.SecretName)
		v.Needs(at.Child("azureFile"), "shareName", s.AzureFile.ShareName)
	}
	if first(s.AzureDisk != nil, "azureDisk") {
		v.azureDisk(s.AzureDisk, at.Child("azureDisk"))
	}
	if first(s.VsphereVolume != nil, "vsphereVolume") {
		v.Needs(at.Child("vsphereVolume"), "volumePath", s.VsphereVolume.VolumePath)
	}
	if first(s.PhotonPersistentDisk != nil, "photonPersistentDisk") {
		v.Needs(at.Child("photonPersistentDisk"), "pdID", s.PhotonPersistentDisk.PdID)
	}
	if first(s.Cinder != nil, "cinder") {
		v.Needs(at.Child("cinder"), "volumeID", s.Cinder.VolumeID)
		if r := s.Cinder.SecretRef; r != nil {
			v.Needs(at.Child("cinder", "secretRef"), "name", r.Name)
		}
	}
}

func (v *validator) networkDisks(s *corev1.VolumeSource, at *field.Path, name string, first func(bool, string) bool) {
	if first(s.NFS != nil, "nfs") {
		here := at.Child("nfs")
		v.Needs(here, "server", s.NFS.Server)
		v.Needs(here, "path", s.NFS.Path)
		if !strings.HasPrefix(s.NFS.Path, "/") {
			v.Invalid(here, "path", s.NFS.Path, "must be an absolute path")
		}
	}
	if first(s.ISCSI != nil, "iscsi") {
		v.iscsi(s.ISCSI, at.Child("iscsi"))
	}
	if s.ISCSI != nil && s.ISCSI.InitiatorName != nil && len(name)+1+len(s.ISCSI.TargetPortal) > 64 {
		v.Invalid(at, "name", name, "together with the target portal must be under 64 characters when an initiator is named")
	}
	if first(s.Glusterfs != nil, "glusterfs") {
		v.Needs(at.Child("glusterfs"), "endpoints", s.Glusterfs.EndpointsName)
		v.Needs(at.Child("glusterfs"), "path", s.Glusterfs.Path)
	}
	if first(s.RBD != nil, "rbd") {
		if len(s.RBD.CephMonitors) == 0 {
			v.Required(at.Child("rbd"), "monitors", "")
		}
		v.Needs(at.Child("rbd"), "image", s.RBD.RBDImage)
	}
	if first(s.CephFS != nil, "cephFS") && len(s.CephFS.Monitors) == 0 {
		v.Required(at.Child("cephfs"), "monitors", "")
	}
	if first(s.Quobyte != nil, "quobyte") {
		v.quobyte(s.Quobyte, at.Child("quobyte"))
	}
	if first(s.FC != nil, "fc") {
		v.fibreChannel(s.FC, at.Child("fc"))
	}
}

func (ps *problems) partition(n int32, at *field.Path) {
	if n < 0 || n > 255 {
		ps.Invalid(at, "partition", n, "must be between 0 and 255")
	}
}

func (ps *problems) lun(n int32, at *field.Path) {
	if n < 0 || n > 255 {
		ps.Invalid(at, "lun", n, "must be between 0 and 255")
	}
}

// The three forms of names in iSCSI.
var (
	iscsiIQN = regexp.MustCompile(`^iqn\.\d{4}-\d{2}\.([[:alnum:]-.]+)(:[^,;*&$|\s]+)$`)
	iscsiEUI = regexp.MustCompile(`^eui\.[[:alnum:]]{16}$`)
	iscsiNAA = regexp.MustCompile(`^naa\.[[:alnum:]]{32}$`)
)

func iscsiName(name string) bool {
	return iscsiIQN.MatchString(name) || iscsiEUI.MatchString(name) || iscsiNAA.MatchString(name)
}

func (v *validator) iscsi(s *corev1.ISCSIVolumeSource, at *field.Path) {
	v.Needs(at, "targetPortal", s.TargetPortal)
	if s.IQN == "" {
		v.Required(at, "iqn", "")
	} else if !iscsiName(s.IQN) {
		v.Invalid(at, "iqn", s.IQN, "must be a name that starts with iqn, eui or naa")
	}
	v.lun(s.Lun, at)
	if (s.DiscoveryCHAPAuth || s.SessionCHAPAuth) && s.SecretRef == nil {
		v.Required(at, "secretRef", "")
	}
	if s.InitiatorName != nil && !iscsiName(*s.InitiatorName) {
		v.Invalid(at, "initiatorname", *s.InitiatorName, "must be a name that starts with iqn, eui or naa")
	}
}

func (v *validator) fibreChannel(s *corev1.FCVolumeSource, at *field.Path) {
	switch {
	case len(s.TargetWWNs) == 0 && len(s.WWIDs) == 0:
		v.Required(at, "targetWWNs", "must have either targetWWNs or wwids")
	case len(s.TargetWWNs) > 0 && len(s.WWIDs) > 0:
		v.Invalid(at, "targetWWNs", s.TargetWWNs, "may not be set together with wwids")
	}
	if len(s.TargetWWNs) == 0 {
		return
	}
	if s.Lun == nil {
		v.Required(at, "lun", "must be set when targetWWNs is")
	} else {
		v.lun(*s.Lun, at)
	}
}

func (v *validator) quobyte(s *corev1.QuobyteVolumeSource, at *field.Path) {
	const pairs = "must be host:port, or several of them separated by commas"
	switch {
	case s.Registry == "":
		v.Required(at, "registry", pairs)
	case len(s.Tenant) > 64:
		v.Required(at, "tenant", "must be a UUID of at most 64 characters")
	default:
		for _, pair := range strings.Split(s.Registry, ",") {
			if _, _, err := net.SplitHostPort(pair); err != nil {
				v.Invalid(at, "registry", s.Registry, pairs)
			}
		}
	}
	v.Needs(at, "volume", s.Volume)
}

func (v *validator) flocker(s *corev1.FlockerVolumeSource, at *field.Path) {
	if s.DatasetName == "" && s.DatasetUUID == "" {
		v.Required(at, "", "must have datasetName or datasetUUID")
	}
	if s.DatasetName != "" && s.DatasetUUID != "" {
		v.Invalid(at, "", "resource", "may not have both datasetName and datasetUUID")
	}
	if strings.Contains(s.DatasetName, "/") {
		v.Invalid(at, "datasetName", s.DatasetName, "must not contain '/'")
	}
}

func (v *validator) flexVolume(s *corev1.FlexVolumeSource, at *field.Path) {
	v.Needs(at, "driver", s.Driver)
	for _, key := range sortedKeys(s.Options) {
		domain, _, _ := strings.Cut(strings.ToLower(key), "/")
		if domain = "." + domain; strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io") {
			v.Invalid(at.Child("options").Key(key), "", key, "kubernetes.io and k8s.io are reserved")
		}
	}
}

func (v *validator) storageOS(s *corev1.StorageOSVolumeSource, at *field.Path) {
	if s.VolumeName == "" {
		v.Required(at, "volumeName", "")
	} else {
		v.Label(at, "volumeName", s.VolumeName)
	}
	if s.VolumeNamespace != "" {
		v.Label(at, "volumeNamespace", s.VolumeNamespace)
	}
	if s.SecretRef != nil {
		v.Needs(at.Child("secretRef"), "name", s.SecretRef.Name)
	}
}

func (v *validator) azureDisk(s *corev1.AzureDiskVolumeSource, at *field.Path) {
	v.Needs(at, "diskName", s.DiskName)
	v.Needs(at, "diskURI", s.DataDiskURI)
	if s.CachingMode != nil {
		kind.OneOf(&v.Problems, at, "cachingMode", *s.CachingMode, corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite)
	}
	if s.Kind == nil {
		return
	}
	kind.OneOf(&v.Problems, at, "kind", *s.Kind, corev1.AzureSharedBlobDisk, corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk)
	prefix := "https://"
	if *s.Kind == corev1.AzureManagedDisk {
		prefix = "/subscriptions/"
	}
	if !strings.HasPrefix(s.DataDiskURI, prefix) {
		v.List = append(v.List, field.NotSupported(at.Child("diskURI"), s.DataDiskURI, []string{prefix + "..."}))
	}
}
