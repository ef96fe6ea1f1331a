package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/functions-worker/functions-worker/internal/instance"
	"github.com/functions-worker/functions-worker/internal/pb"
	"github.com/functions-worker/functions-worker/internal/runtime/launch"
)

var errNoWorkerImage = errors.New("pods that run WebAssembly modules and compiled-in functions need an image of this worker: set goWorker.kubernetes.workerImage")

// compiledIn is the name of the compiled-in function, source or sink that a component is, "" for none. At admission there is
// no package yet.
func (o Options) compiledIn(meta *pb.FunctionMetaData) string {
	d := meta.GetFunctionDetails()
	name := pb.BuiltinName(d)
	if location := meta.GetPackageLocation(); location != nil {
		var found bool
		if name, found = strings.CutPrefix(location.GetPackagePath(), instance.BuiltinScheme); !found {
			return "" // an archive of that name was uploaded
		}
	}
	if _, ok := o.Programs.Named(pb.ComponentTypeOf(d), name); !ok {
		return ""
	}
	return name
}

// hosted says whether this project's program runs a function by itself. A module is known by its file name, which submissions
// see to.
func (o Options) hosted(meta *pb.FunctionMetaData) bool {
	if o.compiledIn(meta) != "" {
		return true
	}
	d := meta.GetFunctionDetails()
	return o.Programs != nil && d.GetRuntime() == pb.FunctionDetails_GO && pb.ComponentTypeOf(d) == pb.FunctionDetails_FUNCTION &&
		instance.NamedAsWASM(packageFileName(d, meta.GetPackageLocation()))
}

// hostedCommand becomes an instance of this project's own program.
func (o Options) hostedCommand(options launch.Options, in launch.Instance) ([]string, error) {
	options.ExposeAdminClient = true // for the schemas of messages; the code of the function does not see it
	conf, err := goConf(options, in)
	if err != nil {
		return nil, err
	}
	words := []string{o.WorkerProgram, "instance", "--package", in.PackageFile, "--pending_async_requests", strconv.Itoa(o.MaxPendingAsyncRequests)}
	if o.WASMLimits != "" && !strings.HasPrefix(in.PackageFile, instance.BuiltinScheme) {
		words = append(words, "--wasm_limits", o.WASMLimits)
	}
	for i, w := range words {
		words[i] = quote(w)
	}
	return []string{"exec " + strings.Join(words, " ") + " -instance-conf " + conf}, nil
}

// HostsPrograms says why pods cannot run modules and compiled-in functions; nil if they can.
func (f *Factory) HostsPrograms() error {
	if !f.o.hasWorkerImage() {
		return errNoWorkerImage
	}
	return nil
}

// hasWorkerImage says whether the image is known or can be found out.
func (o Options) hasWorkerImage() bool { return o.WorkerImage != "" || o.WorkerPod != nil }

func (o Options) needsWorkerImage(meta *pb.FunctionMetaData) bool {
	return o.NativeDownload || o.hosted(meta)
}

// imageOf a function's container.
func (o Options) imageOf(meta *pb.FunctionMetaData) string {
	if o.hosted(meta) {
		return o.WorkerImage
	}
	return o.image(meta.GetFunctionDetails().GetRuntime().String())
}

// findWorkerImage looks at the worker's own pod, once, if a function needs the image and the configuration does not name it.
func (f *Factory) findWorkerImage(ctx context.Context, meta *pb.FunctionMetaData) error {
	o := f.options()
	if !o.needsWorkerImage(meta) || o.WorkerImage != "" {
		return nil
	}
	if o.WorkerPod == nil {
		return errNoWorkerImage
	}
	image, err := f.ownImage(ctx, o)
	if err != nil {
		return fmt.Errorf("finding the image of the worker's own pod; goWorker.kubernetes.workerImage would name it: %w", err)
	}
	f.settings.setWorkerImage(image)
	return nil
}

// ownImage lists, because the worker has that right already.
func (f *Factory) ownImage(ctx context.Context, o Options) (string, error) {
	namespace, name, err := o.WorkerPod()
	if err != nil {
		return "", err
	}
	list, err := request(ctx, o.RequestTimeout, action{"list", "", "pods", namespace, name}, func(ctx context.Context) (*corev1.PodList, error) {
		return f.clients.Objects.Pods(namespace).List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()})
	})
	if err != nil {
		return "", err
	}
	if len(list.Items) == 0 {
		return "", fmt.Errorf("there is no pod %s/%s", namespace, name)
	}
	return imageAmong(list.Items[0].Spec.Containers)
}

// imageAmong tells the worker's container from sidecars.
func imageAmong(containers []corev1.Container) (string, error) {
	if len(containers) == 1 {
		return containers[0].Image, nil
	}
	var found []string
	for _, c := range containers {
		if strings.Contains(c.Name, "function-worker") || strings.Contains(c.Name, "functions-worker") {
			found = append(found, c.Image)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("it has %d containers, of which %d are called like a functions worker", len(containers), len(found))
	}
	return found[0], nil
}
