//! A GPU through the CUDA driver: one context, one stream, kernels as cubins for its architecture.
//!
//! Launches of steps that come again are recorded as a CUDA graph when they come the second time. The queue's order is the
//! order of calls.

use crate::arch::Arch;
use crate::code::{self, CodeStore, Version};
use crate::device::{Address, BoundLaunch, Device, Loaded, Needs, Target};
use crate::error::Error;
use crate::kernels::Kernel;
use cudarc::driver::sys::{
    self, CUcontext, CUdevice, CUdevice_attribute as Attribute, CUevent, CUfunction, CUfunction_attribute,
    CUgraph, CUgraphExec, CUlaunchAttribute, CUlaunchAttributeID, CUlaunchAttributeValue, CUlaunchConfig,
    CUmodule, CUresult, CUstream, CUstreamCaptureMode,
};
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr::null_mut;
use std::time::Duration;

/// Most graphs that are kept: steps of other sizes are launched one kernel after another.
const MOST_GRAPHS: usize = 256;
/// The oldest driver that has every function that is called, but those of [`TIMING`].
const OLDEST_DRIVER: Version = Version { major: 12, minor: 0 };
/// The oldest driver that times launches.
const TIMING: Version = Version { major: 12, minor: 8 };

/// The first GPU of the machine.
pub struct Gpu {
    context: CUcontext,
    device: CUdevice,
    stream: CUstream,
    name: String,
    arch: Arch,
    target: Target,
    /// What the driver supports.
    driver: Version,
    modules: Vec<CUmodule>,
    functions: Vec<CUfunction>,
    allocations: Vec<u64>,
    /// Recorded launches by key; `None` where they ran once and were not recorded.
    graphs: HashMap<u64, Option<CUgraphExec>>,
    /// What goes up, in turns: one piece is written while the device reads the other.
    staging: [Staging; 2],
    turn: usize,
    /// Of each kernel, launches that were timed and their milliseconds; `None` where nothing is timed.
    profile: Option<Vec<(u64, f64)>>,
    /// What came down.
    results: Pinned,
    downloaded: usize,
}

// SAFETY: the handles belong to this value alone, and the driver allows any thread to use them once it has made the context
// current, which every method does.
unsafe impl Send for Gpu {}

/// Memory that the device reads by itself, until an event if it is busy.
struct Staging {
    memory: Pinned,
    read: CUevent,
    busy: bool,
}

/// Memory of the host that the device reads and writes by itself.
struct Pinned {
    start: *mut u8,
    bytes: usize,
}

/// What a driver call gave.
fn check(call: &str, result: CUresult) -> Result<(), Error> {
    if result == CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    let mut text = std::ptr::null();
    // SAFETY: the driver gives a constant text, or fails and leaves null.
    let what = unsafe {
        sys::cuGetErrorString(result, &mut text);
        match text.is_null() {
            true => format!("{result:?}"),
            false => CStr::from_ptr(text).to_string_lossy().into_owned(),
        }
    };
    Err(Error::Driver {
        call: call.to_owned(),
        what,
    })
}

/// Calls a function of the driver; where it fails, the error says which.
macro_rules! cu {
    ($function:ident($($arg:expr),* $(,)?)) => {
        check(stringify!($function), sys::$function($($arg),*))
    };
}

impl Gpu {
    /// Opens the first GPU.
    ///
    /// # Errors
    /// Where there is no driver, no device, or one that is too old.
    pub fn open() -> Result<Gpu, Error> {
        // SAFETY: opens the driver's library and closes it again.
        if !unsafe { sys::is_culib_present() } {
            return Err(Error::NoDriver);
        }
        let mut count = 0;
        let (mut device, mut context, mut stream) = (0, null_mut(), null_mut());
        // SAFETY: the driver's library is there; arguments are valid for the calls; the first call is the one that must be.
        unsafe {
            let no_device = |e: Error| Error::NoDevice(e.to_string());
            cu!(cuInit(0)).map_err(no_device)?;
            cu!(cuDeviceGetCount(&mut count)).map_err(no_device)?;
            if count == 0 {
                return Err(Error::NoDevice("the driver knows none".into()));
            }
            cu!(cuDeviceGet(&mut device, 0))?;
        }
        let driver = driver_version()?;
        need_driver(driver, OLDEST_DRIVER)?;
        let (name, arch) = describe(device)?;
        let target = target(device, arch)?;
        if arch < Arch::OLDEST {
            let Arch { major, minor } = arch;
            return Err(Error::OldDevice { name, major, minor });
        }
        // SAFETY: as above; the context is released and the stream destroyed when the value is dropped.
        unsafe {
            cu!(cuDevicePrimaryCtxRetain(&mut context, device))?;
            cu!(cuCtxSetCurrent(context))?;
            cu!(cuStreamCreate(
                &mut stream,
                sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32
            ))?;
        }
        Ok(Gpu {
            context,
            device,
            stream,
            name,
            arch,
            target,
            driver,
            modules: Vec::new(),
            functions: Vec::new(),
            allocations: Vec::new(),
            graphs: HashMap::new(),
            staging: [Staging::NONE; 2],
            turn: 0,
            profile: None,
            results: Pinned::NONE,
            downloaded: 0,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The architecture.
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// Bytes of memory that nobody uses.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn free_bytes(&self) -> Result<u64, Error> {
        self.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: the context is current.
        unsafe { cu!(cuMemGetInfo_v2(&mut free, &mut total))? };
        Ok(free as u64)
    }

    /// Makes the context that of this thread.
    fn enter(&self) -> Result<(), Error> {
        // SAFETY: the context lives as long as this value.
        unsafe { cu!(cuCtxSetCurrent(self.context)) }
    }

    fn sync(&mut self) -> Result<(), Error> {
        // SAFETY: the stream is alive.
        unsafe { cu!(cuStreamSynchronize(self.stream))? };
        self.staging.iter_mut().for_each(|s| s.busy = false);
        Ok(())
    }

    fn launch(&self, launch: &BoundLaunch) -> Result<(), Error> {
        let mut values: Vec<u64> = launch.args.iter().map(|a| a.0).collect();
        let mut args: Vec<*mut c_void> = values.iter_mut().map(|v| (v as *mut u64).cast()).collect();
        let [x, y, z] = launch.grid;
        let mut overlap = CUlaunchAttribute {
            id: CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: CUlaunchAttributeValue {
                programmaticStreamSerializationAllowed: 1,
            },
        };
        let config = CUlaunchConfig {
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: launch.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: launch.shared,
            hStream: self.stream,
            attrs: &mut overlap,
            // Launches overlap where the device can do that, and kernels wait for one another.
            numAttrs: u32::from(self.arch.major >= 9 && self.profile.is_none()),
        };
        // SAFETY: the function is loaded and takes so many pointers: plans are verified, and arguments bound to memory that
        // was allocated as they say.
        unsafe {
            cu!(cuLaunchKernelEx(
                &config,
                self.functions[launch.kernel],
                args.as_mut_ptr(),
                null_mut(),
            ))
        }
    }

    fn launch_all(&self, launches: &[BoundLaunch]) -> Result<(), Error> {
        launches.iter().try_for_each(|launch| self.launch(launch))
    }

    /// Runs launches with an event after each, and adds up what lies between.
    fn launch_timed(&mut self, launches: &[BoundLaunch], profile: &mut [(u64, f64)]) -> Result<(), Error> {
        let mut events = vec![null_mut(); launches.len() + 1];
        // SAFETY: the stream is alive; each event is recorded after it was made, and destroyed once, after the stream was
        // waited for.
        unsafe {
            for event in &mut events {
                cu!(cuEventCreate(event, 0))?;
            }
            cu!(cuEventRecord(events[0], self.stream))?;
            for (launch, event) in launches.iter().zip(&events[1..]) {
                self.launch(launch)?;
                cu!(cuEventRecord(*event, self.stream))?;
            }
            self.sync()?;
            for (launch, pair) in launches.iter().zip(events.windows(2)) {
                let mut time = 0.0;
                cu!(cuEventElapsedTime_v2(&mut time, pair[0], pair[1]))?;
                profile[launch.kernel].0 += 1;
                profile[launch.kernel].1 += f64::from(time);
            }
            events
                .into_iter()
                .try_for_each(|event| cu!(cuEventDestroy_v2(event)))
        }
    }

    /// Records launches.
    fn record(&self, launches: &[BoundLaunch]) -> Result<CUgraphExec, Error> {
        let (mut graph, mut exec): (CUgraph, CUgraphExec) = (null_mut(), null_mut());
        // SAFETY: the stream is alive; what is recorded are launches alone; the graph is destroyed when it is instantiated.
        unsafe {
            let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
            cu!(cuStreamBeginCapture_v2(self.stream, mode))?;
            let launched = self.launch_all(launches);
            cu!(cuStreamEndCapture(self.stream, &mut graph))?;
            launched?;
            let made = cu!(cuGraphInstantiateWithFlags(&mut exec, graph, 0));
            cu!(cuGraphDestroy(graph))?;
            made.map(|()| exec)
        }
    }

    fn load_module(&mut self, cubin: &[u8], number: usize, kernel: &Kernel) -> Result<(), Error> {
        let mut handle = null_mut();
        let name = CString::new(kernel.name()).unwrap_or_default();
        // SAFETY: the cubin is whole; the module is unloaded when this value is dropped; names end with zero.
        unsafe {
            cu!(cuModuleLoadData(&mut handle, cubin.as_ptr().cast()))?;
            self.modules.push(handle);
            cu!(cuModuleGetFunction(
                &mut self.functions[number],
                handle,
                name.as_ptr()
            ))?;
            cu!(cuFuncSetAttribute(
                self.functions[number],
                CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                kernel.dynamic_shared() as c_int,
            ))
        }
    }
}

/// What the driver supports. It has been started.
fn driver_version() -> Result<Version, Error> {
    let mut version: c_int = 0;
    // SAFETY: the driver's library is there, and writes a number.
    unsafe { cu!(cuDriverGetVersion(&mut version))? };
    Ok(Version {
        major: version as u32 / 1000,
        minor: version as u32 % 1000 / 10,
    })
}

fn need_driver(driver: Version, need: Version) -> Result<(), Error> {
    match driver >= need {
        true => Ok(()),
        false => Err(Error::OldDriver { driver, need }),
    }
}

/// Name and compute capability of a device.
fn describe(device: CUdevice) -> Result<(String, Arch), Error> {
    let mut name = [0u8; 128];
    let (mut major, mut minor): (c_int, c_int) = (0, 0);
    // SAFETY: the device is one of those that the driver counted; the buffer is as long as said.
    unsafe {
        cu!(cuDeviceGetName(
            name.as_mut_ptr().cast(),
            name.len() as c_int,
            device
        ))?;
        let attributes = [
            (
                &mut major,
                Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            ),
            (
                &mut minor,
                Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            ),
        ];
        for (value, attribute) in attributes {
            cu!(cuDeviceGetAttribute(value, attribute, device))?;
        }
    }
    let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
    let (major, minor) = (major as u32, minor as u32);
    Ok((name.to_string_lossy().into_owned(), Arch { major, minor }))
}

/// What kernels are cut to.
fn target(device: CUdevice, arch: Arch) -> Result<Target, Error> {
    let attribute = |attribute| -> Result<u32, Error> {
        let mut value: c_int = 0;
        // SAFETY: the device is one of those that the driver counted.
        unsafe { cu!(cuDeviceGetAttribute(&mut value, attribute, device))? };
        Ok(value as u32)
    };
    Ok(Target {
        processors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        shared_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        wgmma: arch.wgmma(),
    })
}

impl Device for Gpu {
    fn target(&self) -> Target {
        self.target
    }

    fn describe(&self) -> String {
        format!("cuda: {}, {}", self.name, self.arch)
    }

    fn check(&self, needs: &Needs) -> Result<(), Error> {
        needs.check(self.free_bytes()?)
    }

    fn allocate(&mut self, bytes: u64) -> Result<Address, Error> {
        self.enter()?;
        let (mut address, bytes) = (0, bytes.max(1) as usize);
        // SAFETY: the context is current; the memory is freed when this value is dropped, and not before.
        unsafe {
            cu!(cuMemAlloc_v2(&mut address, bytes))?;
            self.allocations.push(address);
            cu!(cuMemsetD8Async(address, 0, bytes, self.stream))?;
        }
        self.sync()?;
        Ok(Address(address))
    }

    fn load(&mut self, kernels: &[&Kernel], threads: usize, store: &dyn CodeStore) -> Result<Loaded, Error> {
        let code = code::load(kernels, self.arch, threads, store, &|compiler| {
            // Within a major version, older drivers run what newer compilers make.
            need_driver(self.driver, Version { minor: 0, ..compiler })
        })?;
        self.enter()?;
        self.functions = vec![null_mut(); kernels.len()];
        for (number, (kernel, cubin)) in kernels.iter().zip(&code.cubins).enumerate() {
            self.load_module(cubin, number, kernel)?;
        }
        Ok(Loaded {
            compiled: code.compiled,
            bytes: code.bytes(),
        })
    }

    fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<(), Error> {
        /// What is larger goes up in pieces.
        const PIECE: usize = 16 << 20;
        self.enter()?;
        let mut to = to;
        for piece in bytes.chunks(PIECE) {
            self.turn ^= 1;
            let staging = &mut self.staging[self.turn];
            let from = staging.put(piece)?;
            // SAFETY: the caller's address has room; the staging memory stays as it is until the event.
            unsafe {
                cu!(cuMemcpyHtoDAsync_v2(to.0, from, piece.len(), self.stream))?;
                cu!(cuEventRecord(staging.read, self.stream))?;
            }
            staging.busy = true;
            to = to.plus(piece.len() as u64);
        }
        Ok(())
    }

    fn copy(&mut self, from: Address, to: Address, bytes: u64) -> Result<(), Error> {
        self.enter()?;
        // SAFETY: both lie in allocations of this value, as the caller says.
        unsafe { cu!(cuMemcpyDtoDAsync_v2(to.0, from.0, bytes as usize, self.stream)) }
    }

    fn run(&mut self, key: Option<u64>, launches: &dyn Fn() -> Vec<BoundLaunch>) -> Result<(), Error> {
        self.enter()?;
        if let Some(mut profile) = self.profile.take() {
            let done = self.launch_timed(&launches(), &mut profile);
            self.profile = Some(profile);
            return done;
        }
        let Some(key) = key.filter(|k| self.graphs.len() < MOST_GRAPHS || self.graphs.contains_key(k)) else {
            return self.launch_all(&launches());
        };
        let exec = match self.graphs.get(&key) {
            None => {
                self.graphs.insert(key, None);
                return self.launch_all(&launches());
            }
            Some(Some(exec)) => *exec,
            Some(None) => {
                let exec = self.record(&launches())?;
                self.graphs.insert(key, Some(exec));
                exec
            }
        };
        // SAFETY: the graph is alive, and what its launches name is too.
        unsafe { cu!(cuGraphLaunch(exec, self.stream)) }
    }

    fn set_profiling(&mut self, on: bool) {
        let on = on && self.driver >= TIMING;
        self.profile = on.then(|| vec![(0, 0.0); self.functions.len()]);
    }

    fn profile(&self) -> Vec<(u64, Duration)> {
        let entries = self.profile.iter().flatten();
        entries
            .map(|&(launches, ms)| (launches, Duration::from_secs_f64(ms / 1e3)))
            .collect()
    }

    fn download(&mut self, from: Address, floats: usize) -> Result<(), Error> {
        self.enter()?;
        self.results.grow(4 * floats)?;
        if floats > 0 {
            // SAFETY: the caller's address has so many floats, and the memory room for them; it is not touched before the
            // stream was waited for.
            unsafe {
                cu!(cuMemcpyDtoHAsync_v2(
                    self.results.start.cast(),
                    from.0,
                    4 * floats,
                    self.stream
                ))?;
            }
        }
        self.sync()?;
        self.downloaded = floats;
        Ok(())
    }

    fn downloaded(&self) -> &[f32] {
        if self.downloaded == 0 {
            return &[];
        }
        // SAFETY: so many floats were copied there, and pinned memory begins at a page.
        unsafe { std::slice::from_raw_parts(self.results.start.cast(), self.downloaded) }
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // SAFETY: everything was made by this value and is used by nothing else. Errors at the end are of no interest: where
        // the context is lost, all that was in it is too, but it must be released, or the device can't be opened again.
        unsafe {
            let alive = self.enter().is_ok() && cu!(cuStreamSynchronize(self.stream)).is_ok();
            if alive {
                self.free_all();
            }
            sys::cuDevicePrimaryCtxRelease_v2(self.device);
        }
    }
}

impl Gpu {
    /// Frees what was made in the context.
    ///
    /// # Safety
    /// The stream was waited for, and nothing is used afterwards.
    unsafe fn free_all(&mut self) {
        // SAFETY: the context is current; each was made once and is freed once.
        unsafe {
            for exec in self.graphs.values().flatten() {
                sys::cuGraphExecDestroy(*exec);
            }
            for &address in &self.allocations {
                sys::cuMemFree_v2(address);
            }
            for &module in &self.modules {
                sys::cuModuleUnload(module);
            }
            for staging in &mut self.staging {
                staging.memory.free();
                if !staging.read.is_null() {
                    sys::cuEventDestroy_v2(staging.read);
                }
            }
            self.results.free();
            sys::cuStreamDestroy_v2(self.stream);
        }
    }
}

impl Staging {
    const NONE: Staging = Staging {
        memory: Pinned::NONE,
        read: null_mut(),
        busy: false,
    };

    /// Writes a piece once the device has read what was there; where it is.
    fn put(&mut self, piece: &[u8]) -> Result<*const c_void, Error> {
        // SAFETY: the context is current; the event is destroyed with the device.
        unsafe {
            if self.read.is_null() {
                let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
                cu!(cuEventCreate(&mut self.read, flags))?;
            }
            if std::mem::take(&mut self.busy) {
                cu!(cuEventSynchronize(self.read))?;
            }
        }
        self.memory.grow(piece.len())?;
        self.memory.bytes_mut()[..piece.len()].copy_from_slice(piece);
        Ok(self.memory.start.cast_const().cast())
    }
}

impl Pinned {
    const NONE: Pinned = Pinned {
        start: null_mut(),
        bytes: 0,
    };

    /// Makes it this large at least; what it held is lost. Nothing of the device may be using it.
    fn grow(&mut self, bytes: usize) -> Result<(), Error> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let bytes = bytes.next_multiple_of(1 << 16);
        self.free();
        let mut start = null_mut();
        // SAFETY: the context is current; the memory is freed by `free`.
        unsafe { cu!(cuMemHostAlloc(&mut start, bytes, 0))? };
        (self.start, self.bytes) = (start.cast(), bytes);
        Ok(())
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        if self.start.is_null() {
            return &mut [];
        }
        // SAFETY: the driver gave so many bytes, and nothing else writes there while the slice lives.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }

    fn free(&mut self) {
        if !self.start.is_null() {
            // SAFETY: the driver gave it, and it is freed once.
            unsafe { sys::cuMemFreeHost(self.start.cast()) };
        }
        *self = Pinned::NONE;
    }
}
