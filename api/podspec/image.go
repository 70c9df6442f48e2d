package podspec

import (
	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
)

// pullPolicyFor is the pull policy of an image for which none is given: an image that may have moved is pulled always.
func pullPolicyFor(image string) corev1.PullPolicy {
	if imageTag(image) == "latest" {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

// maxImage is the length to which image names are looked at.
const maxImage = 4 << 10

// imageTag is the tag of an image name: "latest" when it has neither tag nor digest, empty when it is no image name.
func imageTag(image string) string {
	if tag, plain := plainImageTag(image); plain {
		return tag
	}
	if len(image) > maxImage {
		return "" // no reference is as long, and the grammar's expressions are dear
	}
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return ""
	}
	if tagged, ok := named.(reference.Tagged); ok {
		return tagged.Tag()
	}
	if _, ok := named.(reference.Digested); ok {
		return ""
	}
	return "latest"
}

// plainImageTag reads the tag of image names of the everyday form (lower-case words and single separators, no digest),
// which spares them the regular expressions of the full grammar. plain is false for everything else.
func plainImageTag(image string) (tag string, plain bool) {
	if image == "" || len(image) >= 64 {
		return "", false
	}
	name := image
	tag = "latest"
	colon := -1
	for i := 0; i < len(image); i++ {
		switch image[i] {
		case '/':
			if colon >= 0 { // a registry's port
				return "", false
			}
		case ':':
			if colon >= 0 {
				return "", false
			}
			colon = i
		case '@':
			return "", false
		}
	}
	if colon >= 0 {
		name, tag = image[:colon], image[colon+1:]
		if !plainTag(tag) {
			return "", false
		}
	}
	word := false // whether the previous character belongs to a word
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
			word = true
		case (c == '.' || c == '-' || c == '_' || c == '/') && word:
			word = false
		default:
			return "", false
		}
	}
	return tag, word
}

func plainTag(tag string) bool {
	if tag == "" || tag[0] == '.' || tag[0] == '-' {
		return false
	}
	for i := 0; i < len(tag); i++ {
		c := tag[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '.' || c == '-') {
			return false
		}
	}
	return true
}
