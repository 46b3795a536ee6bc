# frozen_string_literal: true

Puppet::Type.newtype(:stagedoor_settings) do
  @doc = <<~DOC
    Several settings of one of Puppet Server's HOCON files, written in one step, so that nobody ever reads half of them.
    Comments and all other settings stay as they are. The file must exist.

        stagedoor_settings { '/etc/puppetlabs/puppetserver/conf.d/webserver.conf':
          settings => { 'webserver.client-auth' => 'need' },
          remove   => ['webserver.ssl-chain'],
          refuse   => ['webserver.port'],
        }
  DOC

  key = %r{\A[a-zA-Z0-9_-]+(\.[a-zA-Z0-9_-]+)*\z}

  newparam(:path, namevar: true) do
    desc 'The file.'
    validate { |path| raise ArgumentError, "#{path} is no absolute path" unless Puppet::Util.absolute_path?(path) }
  end

  newparam(:refuse) do
    desc 'Dotted keys that must not be there: a file that has one is not touched, and what depends on this fails.'
    munge { |keys| Array(keys) }
  end

  newproperty(:settings) do
    desc 'A hash of dotted keys and their values.'
    validate do |settings|
      raise ArgumentError, 'settings has to be a hash of dotted keys and values' unless settings.is_a?(Hash)

      settings.each_key { |name| raise ArgumentError, "#{name} is no dotted key" unless name.match?(key) }
    end

    def insync?(is)
      should.all? { |name, value| is[name].to_s == value.to_s }
    end

    def change_to_s(is, should)
      changed = should.reject { |name, value| is[name].to_s == value.to_s }
      changed.map { |name, value| "#{name} changed #{is[name].nil? ? 'from nothing' : is[name].inspect} to #{value.inspect}" }.join(', ')
    end
  end

  newproperty(:remove, array_matching: :all) do
    desc 'Dotted keys that shall not be there.'
    validate { |name| raise ArgumentError, "#{name} is no dotted key" unless name.match?(key) }

    def insync?(is)
      is.empty?
    end

    def change_to_s(is, _should)
      "removed #{is.join(', ')}"
    end
  end

  # Whoever writes the whole file comes first, so that what is written here is the last word.
  autorequire(:file) { self[:path] }
end
