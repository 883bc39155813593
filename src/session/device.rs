//! From the device somebody asked for to a candle device, with its name. A
//! device that is not there is an error with the reason; only `Auto` chooses.

use candle_core::Device;

use super::{ComputeDevice, SessionError};

/// Opens `wanted`; gives the device and its name for people, which for `Auto`
/// says why ("CPU, 8 threads (this build has no CUDA or Metal)").
pub(super) fn choose(wanted: ComputeDevice) -> Result<(Device, String), SessionError> {
    match wanted {
        ComputeDevice::Cpu => Ok((Device::Cpu, cpu_name())),
        ComputeDevice::Cuda(number) => cuda(number),
        ComputeDevice::Metal(number) => metal(number),
        ComputeDevice::Auto => Ok(automatic()),
    }
}

fn automatic() -> (Device, String) {
    let because = if cfg!(feature = "cuda") {
        match cuda(0) {
            Ok(chosen) => return chosen,
            Err(error) => error.to_string(),
        }
    } else if cfg!(feature = "metal") {
        match metal(0) {
            Ok(chosen) => return chosen,
            Err(error) => error.to_string(),
        }
    } else {
        "this build has neither CUDA nor Metal".to_owned()
    };
    tracing::info!("running on the CPU: {because}");
    (Device::Cpu, format!("{} ({because})", cpu_name()))
}

fn cuda(number: usize) -> Result<(Device, String), SessionError> {
    let name = format!("CUDA {number}");
    if !cfg!(feature = "cuda") {
        return Err(missing(
            &name,
            "this build has no CUDA",
            "build with `--features cuda`, or use `--device cpu`",
        ));
    }
    let remedy = "check `nvidia-smi`, or use `--device cpu`";
    Device::new_cuda(number)
        .map(|device| (device, name.clone()))
        .map_err(|error| missing(&name, &error.to_string(), remedy))
}

fn metal(number: usize) -> Result<(Device, String), SessionError> {
    let name = format!("Metal {number}");
    if !cfg!(feature = "metal") {
        return Err(missing(
            &name,
            "this build has no Metal",
            "build on macOS with `--features metal`, or use `--device cpu`",
        ));
    }
    Device::new_metal(number)
        .map(|device| (device, name.clone()))
        .map_err(|error| missing(&name, &error.to_string(), "use `--device cpu`"))
}

fn cpu_name() -> String {
    match candle_core::utils::get_num_threads() {
        1 => "CPU, 1 thread".to_owned(),
        threads => format!("CPU, {threads} threads"),
    }
}

fn missing(device: &str, reason: &str, remedy: &str) -> SessionError {
    // Driver messages may span lines; ours are one sentence.
    let reason = reason.lines().next().unwrap_or_default().trim().to_owned();
    SessionError::Device { device: device.to_owned(), reason, remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_always_there_and_says_its_threads() {
        let (device, name) = choose(ComputeDevice::Cpu).unwrap();
        assert!(device.is_cpu());
        assert!(name.starts_with("CPU, ") && name.contains("thread"), "{name}");
    }

    #[test]
    fn automatic_choice_always_works_and_gives_a_reason_on_the_processor() {
        let (device, name) = choose(ComputeDevice::Auto).unwrap();
        assert!(!device.is_cpu() || name.contains('('), "{name}");
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_missing_gpu_is_an_error_with_reason_and_remedy() {
        let message = choose(ComputeDevice::Cuda(0)).unwrap_err().to_string();
        assert!(message.contains("CUDA 0") && message.contains("--features cuda"), "{message}");
    }
}
