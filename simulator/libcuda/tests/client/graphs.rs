//! Graphs by capture, as the product makes them.

use cudarc::driver::sys::{self, CUgraphInstantiate_flags, CUresult, CUstreamCaptureMode, CUstreamCaptureStatus};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, DriverError, LaunchConfig, PushKernelArg};

use crate::{in_process, ptx};

fn pointer(slice: &CudaSlice<f32>, stream: &CudaStream) -> u64 {
    slice.device_ptr(stream).0
}

#[test]
fn graphs_by_capture() {
    in_process("graphs::graphs_by_capture", &[("CUDASIM_CHECK", "all"), ("CUDASIM_SEED", "5")], || {
        let context = CudaContext::new(0)?;
        // What the product does: cudarc's events would be recorded outside the capture.
        unsafe { context.disable_event_tracking() };
        let function = ptx(&context, "basics", "sm_90")?.load_function("vector_add")?;
        let stream = context.new_stream()?;
        let side = context.new_stream()?;
        let n = 1000usize;
        let b = stream.clone_htod(&vec![2.0f32; n])?;
        let mut out = stream.clone_htod(&vec![3.0f32; n])?;
        let target = pointer(&out, &stream);
        let (config, count) = (LaunchConfig::for_num_elems(n as u32), n as i32);
        let local = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        // out += b twice, on two streams one behind the other; nothing runs until the graph is launched.
        stream.begin_capture(local)?;
        assert_eq!(stream.capture_status()?, CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_ACTIVE);
        unsafe { stream.launch_builder(&function).arg(&target).arg(&target).arg(&b).arg(&count).launch(config) }?;
        side.join(&stream)?;
        unsafe { side.launch_builder(&function).arg(&target).arg(&target).arg(&b).arg(&count).launch(config) }?;
        stream.join(&side)?;
        let graph = stream.end_capture(flags)?.expect("work was captured");
        assert_eq!(stream.clone_dtoh(&out)?, vec![3.0f32; n]);
        graph.upload()?;
        for _ in 0..3 {
            graph.launch()?;
        }
        assert_eq!(stream.clone_dtoh(&out)?, vec![3.0 + 2.0 * 6.0f32; n]);
        // Another capture of the same shape gives the instance its parameters: three b instead of two.
        let more = stream.clone_htod(&vec![10.0f32; n])?;
        let capture = |b: &CudaSlice<f32>, twice: bool| {
            stream.begin_capture(local)?;
            for _ in 0..1 + usize::from(twice) {
                unsafe {
                    stream.launch_builder(&function).arg(&target).arg(&target).arg(b).arg(&count).launch(config)
                }?;
            }
            stream.end_capture(flags)
        };
        let (first, second, longer) = (capture(&b, false)?, capture(&more, false)?, capture(&b, true)?);
        let (first, second, longer) = (first.expect("captured"), second.expect("captured"), longer.expect("captured"));
        let mut info = unsafe { std::mem::zeroed::<sys::CUgraphExecUpdateResultInfo>() };
        let update = |graph: sys::CUgraph, info: &mut sys::CUgraphExecUpdateResultInfo| {
            unsafe { sys::cuGraphExecUpdate_v2(first.cu_graph_exec(), graph, info) }.result()
        };
        update(second.cu_graph(), &mut info)?;
        assert_eq!(info.result, sys::CUgraphExecUpdateResult::CU_GRAPH_EXEC_UPDATE_SUCCESS);
        first.launch()?;
        assert_eq!(stream.clone_dtoh(&out)?, vec![25.0f32; n]);
        assert_eq!(
            update(longer.cu_graph(), &mut info),
            Err(DriverError(CUresult::CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE))
        );
        assert_eq!(info.result, sys::CUgraphExecUpdateResult::CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
        // Allocation in a capture, which the product's design forbids, loses it.
        stream.begin_capture(local)?;
        let mut address = 0;
        let refused = unsafe { sys::cuMemAlloc_v2(&mut address, 64) }.result();
        assert_eq!(refused, Err(DriverError(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)));
        let lost = stream.end_capture(flags).err();
        assert_eq!(lost, Some(DriverError(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)));
        // Memory of the stream's order may be allocated in a capture: it is the graph's.
        stream.begin_capture(local)?;
        let mut scratch = unsafe { stream.alloc::<f32>(n) }?;
        stream.memcpy_dtod(&b, &mut scratch)?;
        stream.memcpy_dtod(&scratch, &mut out)?;
        drop(scratch);
        let with_memory = stream.end_capture(flags)?.expect("work was captured");
        for _ in 0..2 {
            with_memory.launch()?;
        }
        assert_eq!(stream.clone_dtoh(&out)?, vec![2.0f32; n]);
        // Pageable memory in a capture is read when the graph runs.
        let mut host = vec![7.0f32; n];
        stream.begin_capture(local)?;
        stream.memcpy_htod(&host, &mut out)?;
        let upload = stream.end_capture(flags)?.expect("work was captured");
        host.fill(8.0);
        upload.launch()?;
        assert_eq!(stream.clone_dtoh(&out)?, vec![8.0f32; n]);
        context.check_err()
    });
}
