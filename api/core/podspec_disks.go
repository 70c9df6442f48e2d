package core

import (
	"net"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// diskSources are the volumes that a storage system provides directly, without a claim.
func (v *podValidator) diskSources(s *corev1.VolumeSource, at *field.Path, name string, first func(bool, string) bool) {
	v.cloudDisks(s, at, first)
	v.networkDisks(s, at, name, first)
	if first(s.Flocker != nil, "flocker") {
		v.flocker(s.Flocker, at.Child("flocker"))
	}
	if first(s.FlexVolume != nil, "flexVolume") {
		v.flexVolume(s.FlexVolume, at.Child("flexVolume"))
	}
	if first(s.PortworxVolume != nil, "portworxVolume") {
		v.needs(at.Child("portworxVolume"), "volumeID", s.PortworxVolume.VolumeID)
	}
	if first(s.ScaleIO != nil, "scaleIO") {
		v.needs(at.Child("scaleIO"), "gateway", s.ScaleIO.Gateway)
		v.needs(at.Child("scaleIO"), "system", s.ScaleIO.System)
		v.needs(at.Child("scaleIO"), "volumeName", s.ScaleIO.VolumeName)
	}
	if first(s.StorageOS != nil, "storageos") {
		v.storageOS(s.StorageOS, at.Child("storageos"))
	}
}

// needs complains about an empty field.
func (ps *problems) needs(at *field.Path, child, value string) {
	if value == "" {
		ps.required(at, child, "")
	}
}

func (v *podValidator) cloudDisks(s *corev1.VolumeSource, at *field.Path, first func(bool, string) bool) {
	if first(s.GCEPersistentDisk != nil, "gcePersistentDisk") {
		here := at.Child("persistentDisk") // upstream's name for it in problems
		v.needs(here, "pdName", s.GCEPersistentDisk.PDName)
		v.partition(s.GCEPersistentDisk.Partition, here)
	}
	if first(s.AWSElasticBlockStore != nil, "awsElasticBlockStore") {
		here := at.Child("awsElasticBlockStore")
		v.needs(here, "volumeID", s.AWSElasticBlockStore.VolumeID)
		v.partition(s.AWSElasticBlockStore.Partition, here)
	}
	if first(s.AzureFile != nil, "azureFile") {
		v.needs(at.Child("azureFile"), "secretName", s.AzureFile.SecretName)
		v.needs(at.Child("azureFile"), "shareName", s.AzureFile.ShareName)
	}
	if first(s.AzureDisk != nil, "azureDisk") {
		v.azureDisk(s.AzureDisk, at.Child("azureDisk"))
	}
	if first(s.VsphereVolume != nil, "vsphereVolume") {
		v.needs(at.Child("vsphereVolume"), "volumePath", s.VsphereVolume.VolumePath)
	}
	if first(s.PhotonPersistentDisk != nil, "photonPersistentDisk") {
		v.needs(at.Child("photonPersistentDisk"), "pdID", s.PhotonPersistentDisk.PdID)
	}
	if first(s.Cinder != nil, "cinder") {
		v.needs(at.Child("cinder"), "volumeID", s.Cinder.VolumeID)
		if r := s.Cinder.SecretRef; r != nil {
			v.needs(at.Child("cinder", "secretRef"), "name", r.Name)
		}
	}
}

func (v *podValidator) networkDisks(s *corev1.VolumeSource, at *field.Path, name string, first func(bool, string) bool) {
	if first(s.NFS != nil, "nfs") {
		here := at.Child("nfs")
		v.needs(here, "server", s.NFS.Server)
		v.needs(here, "path", s.NFS.Path)
		if !strings.HasPrefix(s.NFS.Path, "/") {
			v.invalid(here, "path", s.NFS.Path, "must be an absolute path")
		}
	}
	if first(s.ISCSI != nil, "iscsi") {
		v.iscsi(s.ISCSI, at.Child("iscsi"))
	}
	if s.ISCSI != nil && s.ISCSI.InitiatorName != nil && len(name)+1+len(s.ISCSI.TargetPortal) > 64 {
		v.invalid(at, "name", name, "together with the target portal must be under 64 characters when an initiator is named")
	}
	if first(s.Glusterfs != nil, "glusterfs") {
		v.needs(at.Child("glusterfs"), "endpoints", s.Glusterfs.EndpointsName)
		v.needs(at.Child("glusterfs"), "path", s.Glusterfs.Path)
	}
	if first(s.RBD != nil, "rbd") {
		if len(s.RBD.CephMonitors) == 0 {
			v.required(at.Child("rbd"), "monitors", "")
		}
		v.needs(at.Child("rbd"), "image", s.RBD.RBDImage)
	}
	if first(s.CephFS != nil, "cephFS") && len(s.CephFS.Monitors) == 0 {
		v.required(at.Child("cephfs"), "monitors", "")
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
		ps.invalid(at, "partition", n, "must be between 0 and 255")
	}
}

func (ps *problems) lun(n int32, at *field.Path) {
	if n < 0 || n > 255 {
		ps.invalid(at, "lun", n, "must be between 0 and 255")
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

func (v *podValidator) iscsi(s *corev1.ISCSIVolumeSource, at *field.Path) {
	v.needs(at, "targetPortal", s.TargetPortal)
	if s.IQN == "" {
		v.required(at, "iqn", "")
	} else if !iscsiName(s.IQN) {
		v.invalid(at, "iqn", s.IQN, "must be a name that starts with iqn, eui or naa")
	}
	v.lun(s.Lun, at)
	if (s.DiscoveryCHAPAuth || s.SessionCHAPAuth) && s.SecretRef == nil {
		v.required(at, "secretRef", "")
	}
	if s.InitiatorName != nil && !iscsiName(*s.InitiatorName) {
		v.invalid(at, "initiatorname", *s.InitiatorName, "must be a name that starts with iqn, eui or naa")
	}
}

func (v *podValidator) fibreChannel(s *corev1.FCVolumeSource, at *field.Path) {
	switch {
	case len(s.TargetWWNs) == 0 && len(s.WWIDs) == 0:
		v.required(at, "targetWWNs", "must have either targetWWNs or wwids")
	case len(s.TargetWWNs) > 0 && len(s.WWIDs) > 0:
		v.invalid(at, "targetWWNs", s.TargetWWNs, "may not be set together with wwids")
	}
	if len(s.TargetWWNs) == 0 {
		return
	}
	if s.Lun == nil {
		v.required(at, "lun", "must be set when targetWWNs is")
	} else {
		v.lun(*s.Lun, at)
	}
}

func (v *podValidator) quobyte(s *corev1.QuobyteVolumeSource, at *field.Path) {
	const pairs = "must be host:port, or several of them separated by commas"
	switch {
	case s.Registry == "":
		v.required(at, "registry", pairs)
	case len(s.Tenant) > 64:
		v.required(at, "tenant", "must be a UUID of at most 64 characters")
	default:
		for _, pair := range strings.Split(s.Registry, ",") {
			if _, _, err := net.SplitHostPort(pair); err != nil {
				v.invalid(at, "registry", s.Registry, pairs)
			}
		}
	}
	v.needs(at, "volume", s.Volume)
}

func (v *podValidator) flocker(s *corev1.FlockerVolumeSource, at *field.Path) {
	if s.DatasetName == "" && s.DatasetUUID == "" {
		v.required(at, "", "must have datasetName or datasetUUID")
	}
	if s.DatasetName != "" && s.DatasetUUID != "" {
		v.invalid(at, "", "resource", "may not have both datasetName and datasetUUID")
	}
	if strings.Contains(s.DatasetName, "/") {
		v.invalid(at, "datasetName", s.DatasetName, "must not contain '/'")
	}
}

func (v *podValidator) flexVolume(s *corev1.FlexVolumeSource, at *field.Path) {
	v.needs(at, "driver", s.Driver)
	for _, key := range sortedKeys(s.Options) {
		domain, _, _ := strings.Cut(strings.ToLower(key), "/")
		if domain = "." + domain; strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io") {
			v.invalid(at.Child("options").Key(key), "", key, "kubernetes.io and k8s.io are reserved")
		}
	}
}

func (v *podValidator) storageOS(s *corev1.StorageOSVolumeSource, at *field.Path) {
	if s.VolumeName == "" {
		v.required(at, "volumeName", "")
	} else {
		v.label(at, "volumeName", s.VolumeName)
	}
	if s.VolumeNamespace != "" {
		v.label(at, "volumeNamespace", s.VolumeNamespace)
	}
	if s.SecretRef != nil {
		v.needs(at.Child("secretRef"), "name", s.SecretRef.Name)
	}
}

func (v *podValidator) azureDisk(s *corev1.AzureDiskVolumeSource, at *field.Path) {
	v.needs(at, "diskName", s.DiskName)
	v.needs(at, "diskURI", s.DataDiskURI)
	if s.CachingMode != nil {
		oneOf(&v.problems, at, "cachingMode", *s.CachingMode, corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite)
	}
	if s.Kind == nil {
		return
	}
	oneOf(&v.problems, at, "kind", *s.Kind, corev1.AzureSharedBlobDisk, corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk)
	prefix := "https://"
	if *s.Kind == corev1.AzureManagedDisk {
		prefix = "/subscriptions/"
	}
	if !strings.HasPrefix(s.DataDiskURI, prefix) {
		v.list = append(v.list, field.NotSupported(at.Child("diskURI"), s.DataDiskURI, []string{prefix + "..."}))
	}
}
