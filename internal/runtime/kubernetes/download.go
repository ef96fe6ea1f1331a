package kubernetes

import (
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/launch"
)

// code is where a pod finds what it runs.
type code struct {
	hosted          bool   // this project's program runs it
	file, transform string // paths in the pod, or builtin://name of a compiled-in function; transform "" = none
	volume          bool   // the files lie in a volume of the pod
}

// codeOf says it of a function.
func (o Options) codeOf(meta *pb.FunctionMetaData) code {
	c := code{hosted: o.hosted(meta)}
	if name := o.compiledIn(meta); name != "" {
		c.file = instance.BuiltinScheme + name
		return c
	}
	c.volume = c.hosted || o.NativeDownload
	directory := o.downloadDirectory()
	if c.volume && path.Clean(directory) == path.Clean(o.PulsarRootDir) {
		directory = path.Join(directory, "download") // the volume would hide everything else there
	}
	c.file = path.Join(directory, packageFileName(meta.GetFunctionDetails(), meta.GetPackageLocation()))
	if name := meta.GetTransformFunctionPackageLocation().GetOriginalFileName(); name != "" {
		c.transform = path.Join(directory, sanitise(name))
	}
	return c
}

// downloads are the steps that fetch the packages of a function.
func (o Options) downloads(meta *pb.FunctionMetaData, c code, auth *launch.Auth) []string {
	if strings.HasPrefix(c.file, instance.BuiltinScheme) {
		return nil
	}
	native := c.hosted || o.NativeDownload
	steps := []string{o.download(meta.GetFunctionDetails(), c.file, auth, false, native)}
	if c.transform != "" {
		steps = append(steps, o.download(meta.GetFunctionDetails(), c.transform, auth, true, native))
	}
	return steps
}

// download is by the admin tool of the function's image, or by this project's program, which takes the same options.
func (o Options) download(d *pb.FunctionDetails, file string, auth *launch.Auth, transform, native bool) string {
	words, command := []string{o.PulsarRootDir + o.ConfigAdminCLI}, []string{"functions", "download"}
	if native {
		words, command = []string{o.WorkerProgram, "download"}, nil
	}
	words = append(words, "--admin-url", o.PulsarAdminURL)
	if auth != nil {
		words = append(words, downloadAuth(*auth)...)
	}
	words = append(words, command...)
	words = append(words, "--tenant", d.GetTenant(), "--namespace", d.GetNamespace(), "--name", d.GetName(), "--destination-file", file)
	if o.NativeDownload && d.GetRuntime() == pb.FunctionDetails_GO && !transform {
		words = append(words, "--executable")
	}
	if transform {
		words = append(words, "--transform-function")
	}
	for i, w := range words {
		words[i] = quote(w)
	}
	return strings.Join(words, " ")
}

const (
	packageVolume    = "function-package"
	packageContainer = "function-package"
)

// withPackageVolume puts an empty directory where the package comes to lie, and with NativeDownload the container that
// fetches it.
func (o Options) withPackageVolume(pod *corev1.PodSpec, meta *pb.FunctionMetaData, grant granted) {
	c := o.codeOf(meta)
	if !c.volume {
		return
	}
	mount := corev1.VolumeMount{Name: packageVolume, MountPath: path.Dir(c.file)}
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: packageVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	main := &pod.Containers[0]
	main.VolumeMounts = append(main.VolumeMounts, mount)
	if !o.NativeDownload {
		return
	}
	never := false
	pod.InitContainers = append(pod.InitContainers, corev1.Container{
		Name: packageContainer, Image: o.WorkerImage, ImagePullPolicy: corev1.PullPolicy(o.ImagePullPolicy),
		Command:      []string{"sh", "-c", keepDollars(strings.Join(o.downloads(meta, c, grant.auth), " && "))},
		VolumeMounts: append(grantMounts(grant), mount),
		Resources:    *main.Resources.DeepCopy(), // a quota may demand some; a pod needs the larger of both, not the sum
		SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &never, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		TerminationMessagePath: corev1.TerminationMessagePathDefault, TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
	})
}

func grantMounts(g granted) []corev1.VolumeMount {
	return append([]corev1.VolumeMount(nil), g.mounts...)
}
